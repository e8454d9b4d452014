"""Prompts and answers."""

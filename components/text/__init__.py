"""Prompts, and what is read from answers."""

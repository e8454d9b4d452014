"""Gemma-4's vision tower as its checkpoints describe it."""

"""Gemma-4's audio tower as its checkpoints describe it."""

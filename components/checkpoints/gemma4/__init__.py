"""Gemma-4's decoder as its checkpoints describe it."""

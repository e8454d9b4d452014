"""Qwen3-ASR's audio encoder as its checkpoints describe it."""

"""Gemma-4's text decoder, with the per-layer inputs of its small sizes."""

from .component import MlxGemma4

__all__ = ["MlxGemma4"]

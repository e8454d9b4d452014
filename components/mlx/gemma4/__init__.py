"""Gemma-4's text decoder, with the per-layer inputs of its small sizes."""

from .component import Gemma4

__all__ = ["Gemma4"]

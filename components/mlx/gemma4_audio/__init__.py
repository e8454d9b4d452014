"""Gemma-4's audio tower: a conformer, and the projection of its rows into the decoder's space."""

from .component import Gemma4Audio

__all__ = ["Gemma4Audio"]

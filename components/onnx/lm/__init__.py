"""A language model's checkpoint, made into a graph of ONNX Runtime when it is loaded."""

from .component import LanguageModel

__all__ = ["LanguageModel"]

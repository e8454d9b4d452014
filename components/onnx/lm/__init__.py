"""A language model's checkpoint, made into a graph of ONNX Runtime when it is loaded."""

from .component import OnnxLanguageModel

__all__ = ["OnnxLanguageModel"]

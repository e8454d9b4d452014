"""A decoder that was published as an ONNX graph, with its cache as inputs and outputs."""

from .component import OnnxDecoderFile

__all__ = ["OnnxDecoderFile"]

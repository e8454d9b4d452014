"""Read files that others made, with limits: weights, audio, images, tokenizers (above core)."""

from composer.formats.byte_ranges import ByteRanges
from composer.formats.config import read_config, unsafe_keys
from composer.formats.files import Files, LocalFiles
from composer.formats.headers import Headers
from composer.formats.onnx import OnnxSignature, OnnxValue, read_onnx_signature
from composer.formats.onnx_initializers import ExternalData
from composer.formats.quantization import Quantization, Scheme, read_quantization
from composer.formats.safetensors import Tensor, TensorIndex, read_safetensors
from composer.formats.tokenizer import (
    AddedToken,
    TokenizerInfo,
    read_tokenizer,
    tokenizer_bytes,
    tokenizer_file,
)

__all__ = [
    "AddedToken",
    "ByteRanges",
    "ExternalData",
    "Files",
    "Headers",
    "LocalFiles",
    "OnnxSignature",
    "OnnxValue",
    "Quantization",
    "Scheme",
    "Tensor",
    "TensorIndex",
    "TokenizerInfo",
    "read_config",
    "read_onnx_signature",
    "read_quantization",
    "read_safetensors",
    "read_tokenizer",
    "tokenizer_bytes",
    "tokenizer_file",
    "unsafe_keys",
]

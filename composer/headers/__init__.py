"""Describe models from their headers alone, before any parser that a hostile file could crash."""

from composer.headers.config import dangers, read_config
from composer.headers.files import Files, LocalFiles
from composer.headers.initializers import External
from composer.headers.onnx import OnnxSignature, OnnxValue, read_onnx
from composer.headers.quantization import Quantization, Scheme, quantization
from composer.headers.ranges import Ranges
from composer.headers.reader import Headers
from composer.headers.safetensors import Tensor, TensorIndex, read_safetensors
from composer.headers.tokenizer import (
    AddedToken,
    TokenizerInfo,
    read_tokenizer,
    tokenizer_bytes,
    tokenizer_file,
)

__all__ = [
    "AddedToken",
    "External",
    "Files",
    "Headers",
    "LocalFiles",
    "OnnxSignature",
    "OnnxValue",
    "Quantization",
    "Ranges",
    "Scheme",
    "Tensor",
    "TensorIndex",
    "TokenizerInfo",
    "dangers",
    "quantization",
    "read_config",
    "read_onnx",
    "read_safetensors",
    "read_tokenizer",
    "tokenizer_bytes",
    "tokenizer_file",
]

"""The audio encoder of mega-asr-mini once more, rounded to the 8 bits in which it ships here."""

from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from converters.audio_encoder import AudioEncoder
from training.mega_asr.model import AUDIO

MINIATURE = Path(__file__).parents[2] / "bundles/mega-asr-mini/onnx/audio_encoder_fp32.onnx"
BEFORE = "encoder."
GROUP, BITS = 64, 8


def exported(path: Path = MINIATURE) -> dict[str, np.ndarray]:
    """Read the weights of an exported encoder back, under the names of its state dict."""
    graph = onnx.load(path).graph
    stored = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    found = {}
    for name, value in stored.items():
        if name.startswith(BEFORE):
            found[name.removeprefix(BEFORE)] = value
    for node in graph.node:  # the matrices, which go by the name of their module
        if node.op_type == "MatMul" and node.input[1] in stored:
            module = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            found[f"{module.removeprefix(BEFORE)}.weight"] = stored[node.input[1]].T.copy()
    return found


def packed(weights: dict[str, np.ndarray]) -> Iterator[tuple[str, mx.array]]:
    """Yield each tensor as it is shipped: matrices of 8 bits with their scales, else float16."""
    for name, value in weights.items():
        if value.ndim != 2 or not name.endswith(".weight"):
            yield name, mx.array(value).astype(mx.float16)
            continue
        parts = mx.quantize(mx.array(value).astype(mx.float16), GROUP, BITS)
        for part, array in zip(("weight", "scales", "biases"), parts, strict=True):
            yield f"{name.removesuffix('weight')}{part}", array


def encoder() -> AudioEncoder:
    """Return the encoder with the weights that are shipped."""
    shipped = dict(packed(exported()))
    state: dict[str, Tensor] = {}
    for name, value in shipped.items():
        module, _, part = name.rpartition(".")
        scales = shipped.get(f"{module}.scales")
        if part in ("scales", "biases"):
            continue
        if part == "weight" and scales is not None:
            parts = (shipped[f"{module}.{each}"] for each in ("scales", "biases"))
            exact = (each.astype(mx.float32) for each in parts)
            value = mx.dequantize(value, *exact, GROUP, BITS)
        state[name] = torch.from_numpy(np.array(value.astype(mx.float32)))
    made = AudioEncoder(AUDIO)
    made.load_state_dict(state)
    return made.eval()

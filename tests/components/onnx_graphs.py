"""Tiny ONNX graphs, and the same arithmetic in NumPy."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MELS, DIMS = 3, 4
STRIDE = 2
TYPES = {
    "f32": TensorProto.FLOAT,
    "f16": TensorProto.FLOAT16,
    "i64": TensorProto.INT64,
    "i32": TensorProto.INT32,
    "bool": TensorProto.BOOL,
    "bf16": TensorProto.BFLOAT16,
}

_random = np.random.default_rng(7)
KERNEL = _random.standard_normal((DIMS, MELS, 3)).astype(np.float32)
BIAS = _random.standard_normal(DIMS).astype(np.float32)


def mel(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((MELS, frames)).astype(np.float32)


def encode(x: np.ndarray, chunk: int | None = None) -> np.ndarray:
    """Convolve [mels, n] by stride 2 with zero edges into [rows, dims], each chunk apart."""
    if chunk:
        parts = [encode(x[:, i : i + chunk]) for i in range(0, x.shape[1], chunk)]
        return np.concatenate(parts)
    padded = np.pad(x, ((0, 0), (1, 1)))
    starts = range(0, x.shape[1], STRIDE)
    windows = np.stack([padded[:, i : i + 3] for i in starts])
    return np.einsum("rmk,dmk->rd", windows, KERNEL) + BIAS


def value(name: str, dtype: str, dims) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TYPES[dtype], dims)


def constant(name: str, array) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def save(path: Path, nodes, inputs, outputs, constants=(), external: bool = False) -> Path:
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, list(constants))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="tests"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    more = {"save_as_external_data": True, "location": "data.bin", "size_threshold": 0}
    onnx.save(model, str(path), **(more if external else {}))
    return path


def encoder(
    path: Path,
    *,
    layout: str = "M F",
    frames="n_frames",
    rows="n_rows",
    batch=1,
    chunk: int | None = None,
    mask: str | None = None,
    unit: str = "frame",
    inverted: bool = False,
    dtype: str = "f32",
    lost: int = 0,
    divisor: float | None = None,
    external: bool = False,
) -> Path:
    """Write `input_features` -> `audio_embeds`, optionally with a mask `marks` that multiplies.

    `lost` rows are dropped at the end, as a wrong export would; `divisor` divides the output.
    """
    number = np.float16 if dtype == "f16" else np.float32
    constants = [
        constant("kernel", KERNEL.astype(number)),
        constant("bias", BIAS.astype(number)),
        constant("axis1", np.array([1])),
        constant("axis2", np.array([2])),
    ]
    nodes = []

    def node(kind: str, *given: str, **attributes) -> str:
        name = f"v{len(nodes)}"
        nodes.append(helper.make_node(kind, list(given), [name], **attributes))
        return name

    def marks(axis: str) -> str:
        marked = node("Cast", "marks", to=TYPES[dtype])
        if inverted:
            constants.append(constant("one", np.array(1, number)))
            marked = node("Sub", "one", marked)
        return node("Unsqueeze", marked, axis)

    x = "input_features"
    if layout == "F M":
        x = node("Transpose", x, perm=[0, 2, 1])
    if mask and unit == "frame":
        x = node("Mul", x, marks("axis1"))
    if chunk:
        constants.append(constant("chunks", np.array([MELS, -1, chunk])))
        x = node("Transpose", node("Reshape", x, "chunks"), perm=[1, 0, 2])
    x = node("Conv", x, "kernel", "bias", strides=[STRIDE], pads=[1, 1])
    x = node("Transpose", x, perm=[0, 2, 1])
    if chunk:
        constants.append(constant("flat", np.array([1, -1, DIMS])))
        x = node("Reshape", x, "flat")
    if mask and unit == "row":
        x = node("Mul", x, marks("axis2"))
    if lost:
        constants += [constant("from", np.array([0])), constant("to", np.array([-lost]))]
        x = node("Slice", x, "from", "to", "axis1")
    if divisor is not None:
        constants.append(constant("divisor", np.array(divisor, number)))
        x = node("Div", x, "divisor")
    nodes.append(helper.make_node("Identity", [x], ["audio_embeds"]))
    dims = [batch, MELS, frames] if layout == "M F" else [batch, frames, MELS]
    inputs = [value("input_features", dtype, dims)]
    if mask:
        inputs.append(value("marks", mask, [batch, frames if unit == "frame" else rows]))
    outputs = [value("audio_embeds", dtype, [batch, rows, DIMS])]
    return save(path, nodes, inputs, outputs, constants, external)


def loop(path: Path, turns: int) -> Path:
    """Write `x` -> `y`, which adds x to itself so many times."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Mul", ["sum", "x"], ["more"]),
        ],
        "body",
        [value("turn", "i64", []), value("go", "bool", []), value("sum", "f32", [4])],
        [value("on", "bool", []), value("more", "f32", [4])],
    )
    nodes = [helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body)]
    constants = [constant("turns", np.array(turns, np.int64))]
    return save(path, nodes, [value("x", "f32", [4])], [value("y", "f32", [4])], constants)

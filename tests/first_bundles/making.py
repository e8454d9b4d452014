"""Make the models of the first bundles, with random weights."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from tests.cookbook import making

FLOAT, LONG, INT = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32
FEATURES = ("features", FLOAT, [1, 80, "T"])
RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((80, 32)).astype(np.float32)
KERNEL = RNG.standard_normal((8, 1, 480)).astype(np.float32)
TABLE = RNG.standard_normal((32, 16)).astype(np.float32)
HEAD = {
    "0.weight": RNG.standard_normal((24, 32)).astype(np.float32),
    "1.weight": RNG.standard_normal(24).astype(np.float32),
}


def graph(path, nodes, inputs, outputs, **weights):
    """Write an ONNX file; a node is its type, inputs, output and attributes."""
    made = [helper.make_node(kind, given, [out], **more) for kind, given, out, more in nodes]
    flows = [[helper.make_tensor_value_info(*each) for each in side] for side in (inputs, outputs)]
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    body = helper.make_graph(made, "first", *flows, stored)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(body, opset_imports=[opset], ir_version=8), path)


def rows_of(name):
    """Return the nodes that map features [1, 80, T] to rows [1, T, 32]."""
    return [
        ("Transpose", ["features"], "turned", {"perm": [0, 2, 1]}),
        ("MatMul", ["turned", "w"], name, {}),
    ]


def make(folder: Path) -> dict:
    """Write all models, and return those of torch."""
    argmax = ("ArgMax", ["logits"], "ids", {"axis": -1, "keepdims": 0})
    logits = [("logits", FLOAT, [1, "T", 32]), ("ids", LONG, [1, "T"])]
    graph(folder / "ctc.onnx", [*rows_of("logits"), argmax], [FEATURES], logits, w=WEIGHT)
    counted = [*rows_of("rows"), ("Identity", ["length"], "count", {})]
    given = [FEATURES, ("length", LONG, [1])]
    rows = [("rows", FLOAT, [1, "T", 32]), ("count", LONG, [1])]
    graph(folder / "counted.onnx", counted, given, rows, w=WEIGHT)
    convolved = [
        ("Unsqueeze", ["wave", "one"], "channel", {}),
        ("Conv", ["channel", "k"], "columns", {"strides": [480]}),
        ("Transpose", ["columns"], "rows", {"perm": [0, 2, 1]}),
    ]
    wave, rows = [("wave", FLOAT, [1, "N"])], [("rows", FLOAT, [1, "F", 8])]
    graph(folder / "wave.onnx", convolved, wave, rows, k=KERNEL, one=np.array([1]))
    ids, rows = [("input_ids", INT, [1, "T"])], [("rows", FLOAT, [1, "T", 16])]
    graph(folder / "table.onnx", [("Gather", ["e", "input_ids"], "rows", {})], ids, rows, e=TABLE)
    (folder / "speaker").mkdir()
    save_file(HEAD, folder / "speaker" / "model.safetensors")
    shapes = {"1.weight": (40, 5 * making.SIDE), "1.bias": (40,), "3.weight": (making.WIDTH, 40)}
    return {
        **making.llava(folder),
        "encoder": making.speech_encoder(folder),
        "projector": making.projector(folder, "projector", 4, shapes),
    }

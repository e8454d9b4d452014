"""Small ONNX models, sound and odd."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from composer.formats import OnnxSignature, read_onnx_signature
from tests.formats.making import HERE, one

FLOAT = TensorProto.FLOAT


def value(name: str, dims: Any = ("N", 4), dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, dims)


def weight(name: str = "w", shape: tuple[int, ...] = (4, 4)) -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(shape, np.float32), name)


def model(
    nodes: Any = None,
    inputs: Any = None,
    outputs: Any = None,
    weights: Any = None,
    opset: int = 17,
    functions: Any = (),
    **fields: Any,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])] if nodes is None else nodes,
        "g",
        [value("x")] if inputs is None else inputs,
        [value("y")] if outputs is None else outputs,
        [weight()] if weights is None else weights,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(graph, opset_imports=opsets, functions=list(functions), **fields)
    made.ir_version = 10
    return made


def external(location: str = "w.data", shape: Any = (4, 4), **more: object) -> onnx.TensorProto:
    tensor = TensorProto(name="w", dims=shape, data_type=FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    for key, messages in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(messages))
    return tensor


def branch(name: str, *reads: str) -> onnx.GraphProto:
    node = helper.make_node("Mul", list(reads), [name])
    return helper.make_graph([node], name, [], [value(name)], [weight(f"{name}.w")])


def nested(depth: int) -> onnx.GraphProto:
    graph = branch("t", "x", "t.w")
    for level in range(depth):
        node = helper.make_node("If", ["c"], [f"n{level}"], then_branch=graph)
        graph = helper.make_graph([node], "n", [], [value(f"n{level}")])
    return graph


def read(made: onnx.ModelProto | bytes) -> OnnxSignature:
    data = made if isinstance(made, bytes) else made.SerializeToString()
    return read_onnx_signature(HERE, one(data))


GOOD = model().SerializeToString()

"""What check says of an ONNX file is what ONNX Runtime then does with it."""

import subprocess
import sys

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from composer.components.onnx import versions
from composer.core.errors import ComposerError
from tests.components.onnx_graph.conftest import at
from tests.components.onnx_graph.loading import facts_of, load, refusal

__all__ = ["at"]
FILE = "repo/onnx/encoder.onnx"
HERE = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
IR = versions.NEWEST[max(each for each in versions.NEWEST if each <= HERE)][0]


def write(path, ir=8, opset=13, nodes=None, stored=(), more=(), functions=()):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    nodes = nodes or [helper.make_node("Add", ["x", "x"], ["y"])]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], list(stored))
    opsets = [helper.make_opsetid(*each) for each in (("", opset), *more)]
    model = helper.make_model(graph, opset_imports=opsets, functions=functions)
    model.ir_version = ir
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def loads(path):
    """Return whether ONNX Runtime itself loads a file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


@pytest.mark.parametrize("ir", range(3, 16))
def test_an_ir_version_is_refused_by_check_where_it_would_be_at_load(at, ir):
    path = write(at, ir=ir)
    if loads(path):
        assert facts_of(path).notes == ()
        return
    assert refusal(facts_of, path).splitlines() == [
        f"{FILE}: W268 its IR version is {ir}, but ONNX Runtime "
        f"{HERE[0]}.{HERE[1]} loads up to {IR}",
        "    hint: export it with an older IR version, or install a later ONNX Runtime",
    ]


@pytest.mark.parametrize("opset", [1, 5, 6, 7, 13, *range(20, 32)])
def test_an_opset_is_refused_by_check_where_it_would_be_at_load(at, opset):
    path = write(at, opset=opset)
    if loads(path):
        assert facts_of(path).notes == ()
    else:
        assert f"{FILE}: W268 its opset is {opset}, but ONNX Runtime " in refusal(facts_of, path)


@pytest.mark.parametrize("op", ["MatMul", "Gemm", "Add", "Mul", "Cast", "Transpose", "Identity"])
def test_bfloat16_that_no_kernel_computes_is_warned_of(at, op):
    weight = helper.make_tensor("w", TensorProto.BFLOAT16, [4, 4], [1.0] * 16)
    moves = op in ("Cast", "Transpose", "Identity")
    convert, back = ({"to": TensorProto.BFLOAT16}, {"to": TensorProto.FLOAT})
    if moves:
        more = {"to": TensorProto.FLOAT} if op == "Cast" else {}
        middle = [helper.make_node(op, ["w"], ["m"], **more)]
        middle.append(helper.make_node("Cast", ["m"], ["f"], **back))
        nodes = [*middle, helper.make_node("MatMul", ["x", "f"], ["y"])]
    else:
        nodes = [
            helper.make_node("Cast", ["x"], ["b"], **convert),
            helper.make_node(op, ["b", "w"], ["m"]),
            helper.make_node("Cast", ["m"], ["y"], **back),
        ]
    path = write(at, nodes=nodes, stored=[weight])
    assert loads(path) == moves
    notes = [str(note) for note in facts_of(path).notes]
    if moves:
        assert notes == []
        return
    assert notes == [
        f"{FILE}: L332 warning: {op} computes with bfloat16, which ONNX Runtime has no "
        "CPU kernels for\n    stored as bfloat16: w\n"
        "    hint: place it on a GPU, or export the weights as float32 or float16"
    ]
    with pytest.raises(ComposerError, match="R532"):
        load(path)


BF16 = {"to": TensorProto.BFLOAT16}
F32 = {"to": TensorProto.FLOAT}


@pytest.mark.parametrize("op", ["Add", "MatMul", "Softmax", "Relu", "Reshape", "Concat"])
@pytest.mark.parametrize("made", ["cast", "constant", "moved"])
def test_bfloat16_that_is_made_on_the_way_is_warned_of_too(at, made, op):
    ones = helper.make_tensor("any name", TensorProto.BFLOAT16, [4, 4], [1.0] * 16)
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [4, 4])
    first = {
        "cast": [helper.make_node("Cast", ["f"], ["b"], **BF16)],
        "constant": [helper.make_node("Constant", [], ["b"], value=ones)],
        "moved": [helper.make_node("Transpose", ["any name"], ["b"])],
    }[made]
    inputs = {"Add": ["b", "b"], "MatMul": ["b", "b"], "Reshape": ["b", "shape"]}.get(op, ["b"])
    axis = {"axis": 0} if op == "Concat" else {}
    nodes = [
        *first,
        helper.make_node(op, inputs, ["m"], **axis),
        helper.make_node("Cast", ["m"], ["w"], **F32),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    floats = helper.make_tensor("f", TensorProto.FLOAT, [4, 4], [1.0] * 16)
    path = write(at, nodes=nodes, stored=[floats, shape, *([ones] if made == "moved" else [])])
    notes = [str(note) for note in facts_of(path).notes]
    assert bool(notes) != loads(path)
    if notes:
        origin = {"cast": "cast to bfloat16: b", "constant": "stored as bfloat16: b",
                  "moved": "stored as bfloat16: any name"}[made]  # fmt: skip
        assert f"{op} computes with bfloat16" in notes[0]
        assert origin in notes[0]


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml"])
@pytest.mark.parametrize("opset", [1, 2, 5, 6, 9])
def test_an_opset_of_another_domain_is_refused_where_it_would_be_at_load(at, domain, opset):
    path = write(at, more=[(domain, opset)])
    if loads(path):
        assert facts_of(path).notes == ()
    else:
        assert f"W268 its opset of {domain} is {opset}, but" in refusal(facts_of, path)


@pytest.mark.parametrize("opset", [13, 40])
def test_an_opset_of_a_function_counts_too(at, opset):
    body = [helper.make_node("Relu", ["a"], ["o"])]
    inner = helper.make_function("own", "F", ["a"], ["o"], body, [helper.make_opsetid("", opset)])
    call = [helper.make_node("F", ["x"], ["y"], domain="own")]
    path = write(at, nodes=call, more=[("own", 1)], functions=[inner])
    if loads(path):
        assert facts_of(path).notes == ()
    else:
        assert f"W268 its opset is {opset}, but" in refusal(facts_of, path)


def test_a_later_onnx_runtime_is_not_presumed_to_refuse(at, monkeypatch):
    monkeypatch.setattr(versions, "installed_version", lambda: (2, 0))
    assert facts_of(write(at, opset=40)).notes == ()
    monkeypatch.setattr(versions, "installed_version", lambda: (1, 23))
    assert "its opset is 40, but ONNX Runtime 1.23 loads up to 23" in refusal(
        facts_of, write(at, opset=40)
    )
    monkeypatch.setattr(versions, "installed_version", lambda: None)
    assert facts_of(write(at, opset=40)).notes == ()


def test_the_installed_version_is_known_without_importing_it():
    code = (
        "import sys; from composer.components.onnx.versions import installed_version; "
        "assert installed_version(); assert 'onnxruntime' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert versions.installed_version() == HERE
    assert onnx.__version__

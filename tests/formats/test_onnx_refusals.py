"""Hostile ONNX files are refused, each with its reason."""

import onnx
import pytest
from onnx import TensorProto, helper

from tests.formats.making import refusal
from tests.formats.onnx_models import FLOAT, GOOD, branch, model, nested, read, value, weight

SEQUENCE = helper.make_tensor_sequence_value_info("s", FLOAT, None)
DAMAGED = "\n    hint: it is damaged or cut off; download it again"
DOMAIN_HINT = (
    "\n    hint: only operators of ONNX, ai.onnx.ml and com.microsoft run: export again without "
    "custom operators"
)
HOSTILE: dict[str, tuple[onnx.ModelProto | bytes, str]] = {
    "D19 empty": (b"", "S407 is empty; expected an ONNX model\n    hint: download it again"),
    "D20 garbage": (
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        "S440 is not a readable ONNX model: a number at byte 1 does not end" + DAMAGED,
    ),
    "text": (
        b"hello",
        "S440 is not a readable ONNX model: no field can start at byte 2" + DAMAGED,
    ),
    "D21 truncated": (
        GOOD[:-60],
        "S440 is not a readable ONNX model: the field at byte 2 ends 35 bytes past its message"
        + DAMAGED,
    ),
    "group wire type": (
        b"\x08\x08\x0b",
        "S440 is not a readable ONNX model: no field can start at byte 2" + DAMAGED,
    ),
    "no graph": (b"\x08\x08", "S440 is not a readable ONNX model: it has no graph"),
    "two graphs": (
        GOOD + b"\x3a\x00",
        "S440 is not a readable ONNX model: graph occurs twice, "
        f"the second time at byte {len(GOOD)}" + DAMAGED,
    ),
    "wrong wire type": (
        b"\x08\x08\x38\x01",
        "S440 is not a readable ONNX model: graph at byte 2 has the wrong wire type" + DAMAGED,
    ),
    "LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        "S404 is a Git LFS pointer, not an ONNX model\n"
        "    hint: run `git lfs pull` in the repository, or fetch the file from the Hub",
    ),
    "HTML": (
        b"\n<html>",
        "S405 is a web page, not an ONNX model\n"
        "    hint: a login or an error page was saved in its place; download it again",
    ),
    "pickle": (
        b"PK\x03\x04",
        "S406 is a zip archive, as torch.save and numpy.savez write, not an ONNX model\n"
        "    hint: such files are never loaded; convert it to safetensors if you trust it",
    ),
    "D14 huge dims": (
        model(inputs=[value("x", (2**40, 2**40))]),
        "S444 the input 'x' has the dims '[1099511627776, 1099511627776]', which are out of range",
    ),
    "D15 negative dims": (
        model(inputs=[value("x", (-4, 4))]),
        "S444 the input 'x' has the dims '[-4, 4]', which are out of range",
    ),
    "huge initializer": (
        model(weights=[TensorProto(name="w", dims=[2**31], data_type=1, raw_data=bytes(4))]),
        "S444 the tensor 'w' has the dims '[2147483648]', which are out of range",
    ),
    "axes without end": (
        model(weights=[TensorProto(name="w", dims=[2**31 - 1] * 50_000, data_type=1)]),
        f"S444 the tensor 'w' has the dims '[{'2147483647, ' * 4}21474836...', "
        "which are out of range",
    ),
    "axes of an input": (
        model(inputs=[value("x", (2**31 - 1,) * 20_000)]),
        f"S444 the input 'x' has the dims '[{'2147483647, ' * 4}21474836...', "
        "which are out of range",
    ),
    "empty initializer": (
        model(weights=[TensorProto(name="w", dims=[10**6], data_type=1)]),
        "S452 the tensor 'w' is f32 [1000000], but 0 bytes are stored",
    ),
    "short initializer": (
        model(weights=[TensorProto(name="w", dims=[4, 4], data_type=1, raw_data=bytes(60))]),
        "S452 the tensor 'w' is f32 [4, 4], 64 bytes, but 60 are stored",
    ),
    "unknown initializer": (
        model(weights=[TensorProto(name="w", dims=[1], data_type=99, raw_data=bytes(4))]),
        "S443 the tensor 'w' has the unknown element type 99",
    ),
    "unknown input": (
        model(inputs=[value("x", dtype=99)]),
        "S443 the input 'x' has the unknown element type 99",
    ),
    "sequence": (
        model(inputs=[value("x"), SEQUENCE]),
        "S443 the input 's' is not a tensor; only tensors can be wired",
    ),
    "no input": (
        model(nodes=[helper.make_node("Neg", ["w"], ["y"])], inputs=[]),
        "S441 has no input",
    ),
    "only initializers as inputs": (
        model(nodes=[helper.make_node("Neg", ["w"], ["y"])], inputs=[value("w")]),
        "S441 has no input",
    ),
    "no output": (model(outputs=[]), "S441 has no output"),
    "two inputs": (model(inputs=[value("x"), value("x")]), "S442 two inputs are called 'x'"),
    "two outputs": (model(outputs=[value("y"), value("y")]), "S442 two outputs are called 'y'"),
    "two initializers": (
        model(weights=[weight(), weight()]),
        "S442 two initializers are called 'w'",
    ),
    "two values": (
        model([helper.make_node("Neg", ["x"], ["y"])] * 2),
        "S442 the value 'y' is produced twice",
    ),
    "D16 custom domain": (
        model([helper.make_node("Evil", ["x"], ["y"], domain="org.evil")]),
        "S445 uses the operator Evil of the domain 'org.evil'" + DOMAIN_HINT,
    ),
    "custom domain in a subgraph": (
        model(
            [
                helper.make_node(
                    "If",
                    ["x"],
                    ["y"],
                    then_branch=helper.make_graph(
                        [helper.make_node("Evil", ["x"], ["t"], domain="org.evil")],
                        "t",
                        [],
                        [value("t")],
                    ),
                    else_branch=branch("e", "x", "w"),
                )
            ]
        ),
        "S445 uses the operator Evil of the domain 'org.evil'" + DOMAIN_HINT,
    ),
    "D17 opset 999": (
        model(opset=999),
        "S453 names the opset 999 of ''; expected 1 to 100",
    ),
    "D18 cycle": (
        model(
            [
                helper.make_node("Add", ["x", "b"], ["a"]),
                helper.make_node("Add", ["a", "w"], ["b"], "two"),
                helper.make_node("Neg", ["a"], ["y"]),
            ]
        ),
        "S446 Add, two, Neg depend on each other in a cycle",
    ),
    "cycle through a subgraph": (
        model(
            [
                helper.make_node(
                    "If",
                    ["x"],
                    ["y"],
                    then_branch=branch("t", "x", "y"),
                    else_branch=branch("e", "x", "w"),
                )
            ]
        ),
        "S446 If depends on its own output",
    ),
    "nothing makes it": (
        model(outputs=[value("y"), value("z")]),
        "S446 reads z, which no node produces",
    ),
    "a subgraph reads nothing": (
        model(
            [
                helper.make_node(
                    "If",
                    ["x"],
                    ["y"],
                    then_branch=branch("t", "x", "gone"),
                    else_branch=branch("e", "x", "w"),
                )
            ]
        ),
        "S446 reads gone, which no node produces",
    ),
    "function calls itself": (
        model(
            [helper.make_node("F", ["x"], ["y"], domain="own")],
            functions=[
                helper.make_function(
                    "own",
                    "F",
                    ["a"],
                    ["b"],
                    [helper.make_node("F", ["a"], ["b"], domain="own")],
                    [helper.make_opsetid("", 17)],
                )
            ],
        ),
        "S446 own.F depends on its own output",
    ),
    "nested graphs": (
        model(
            [helper.make_node("If", ["x"], ["y"], then_branch=nested(20))],
            inputs=[value("x"), value("c")],
        ),
        "S447 is too large to describe: its graphs are nested more than 16 deep",
    ),
    "long name": (
        model(inputs=[value("x" * 70_000)]),
        "S447 is too large to describe: a name at byte 113 has 70000 bytes",
    ),
}


@pytest.mark.parametrize(("made", "text"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_model_is_refused(made: onnx.ModelProto | bytes, text: str) -> None:
    assert refusal(lambda: read(made)) == f"repo/m: {text}"

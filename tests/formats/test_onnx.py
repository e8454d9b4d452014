"""ONNX files are read as onnx reads them, in little memory, or refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats import OnnxValue, read_onnx_signature
from composer.formats.onnx_initializers import DTYPES
from tests.formats.making import refusal
from tests.formats.onnx_models import FLOAT, GOOD, branch, model, read, value, weight


def test_signature() -> None:
    made = model(
        inputs=[value("x", ("T", None, 4)), value("w"), value("ids", [1], TensorProto.INT64)],
        outputs=[value("y", None, TensorProto.FLOAT16)],
    )
    signature = read(made)
    assert signature.inputs == (
        OnnxValue("x", "f32", ("T", None, 4)),
        OnnxValue("ids", "i64", (1,)),
    )
    assert signature.outputs == (OnnxValue("y", "f16", None),)
    assert signature.opsets == {"": 17, "com.microsoft": 1}
    assert signature.domains == {""}
    assert signature.nbytes == 64
    assert signature.external == ()


def test_a_folder_is_no_model(repo: Location) -> None:
    (repo / "a.onnx").path.write_bytes(GOOD)
    assert refusal(lambda: read_onnx_signature(repo)) == (
        "repo: S402 is a folder; expected an ONNX file (it has a.onnx)"
    )


def known_values(values: Any) -> tuple[OnnxValue, ...]:
    """Describe ports as the onnx library reads them."""
    found = []
    for port in values:
        tensor = port.type.tensor_type
        dims = [getattr(dim, dim.WhichOneof("value") or "dim_param") for dim in tensor.shape.dim]
        shape = (
            tuple(dim if dim != "" else None for dim in dims) if tensor.HasField("shape") else None
        )
        found.append(OnnxValue(port.name, DTYPES[tensor.elem_type][0], shape))
    return tuple(found)


def test_agrees_with_onnx(repo: Location) -> None:
    """Subgraphs, a function, a sparse initializer, constants and external data together."""
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("sp", FLOAT, [1], [1.0]),
        helper.make_tensor("", TensorProto.INT64, [1], [3]),
        [16],
    )
    made = model(
        [
            helper.make_node("F", ["x"], ["f"], domain="own"),
            helper.make_node(
                "If",
                ["c"],
                ["i"],
                then_branch=branch("t", "f", "t.w"),
                else_branch=branch("e", "x", "w"),
            ),
            helper.make_node("Constant", [], ["k"], value=weight("k")),
            helper.make_node("Sum", ["i", "w", "k"], ["y"]),
            helper.make_node("FastGelu", ["y"], ["z"], domain="com.microsoft"),
        ],
        [value("x"), value("c", [], TensorProto.BOOL), value("n", ["N"], TensorProto.INT64)],
        [value("y"), value("z", [None, 4])],
        [weight(), weight("big", (64, 64))],
        functions=[
            helper.make_function(
                "own",
                "F",
                ["a"],
                ["b"],
                [helper.make_node("Neg", ["a"], ["b"])],
                [helper.make_opsetid("", 17)],
            )
        ],
    )
    made.graph.sparse_initializer.append(sparse)
    onnx.save_model(
        made,
        (repo / "m.onnx").path,
        save_as_external_data=True,
        location="m.data",
        size_threshold=1024,
    )
    known = onnx.load((repo / "m.onnx").path, load_external_data=False)
    signature = read_onnx_signature(repo / "m.onnx")
    assert signature.inputs == known_values(known.graph.input)
    assert signature.outputs == known_values(known.graph.output)
    assert signature.domains == {"", "own", "com.microsoft"}
    assert [(e.tensor, str(e.file), e.length) for e in signature.external] == [
        ("big", "repo/m.data", 64 * 64 * 4)
    ]
    assert signature.nbytes == 4 * (16 * 4 + 64 * 64 + 1)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_model_is_refused_or_sound(data: st.DataObject) -> None:
    """What is accepted here and by onnx has the same ports in both."""
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        match data.draw(st.sampled_from(["change", "insert", "cut"])):
            case "change":
                damaged[at] = data.draw(st.integers(0, 255))
            case "insert":
                damaged[at:at] = data.draw(st.binary(max_size=4))
            case _:
                del damaged[at : at + data.draw(st.integers(1, 2))]
    try:
        signature = read(bytes(damaged))
        known = onnx.load_model_from_string(bytes(damaged))
    except (ComposerError, DecodeError):
        return
    stored = {tensor.name for tensor in known.graph.initializer}
    inputs = [port for port in known.graph.input if port.name not in stored]
    assert signature.inputs == known_values(inputs)
    assert signature.outputs == known_values(known.graph.output)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ComposerError):
        read(b"\x08\x08" + data)


MEASURE = """
import resource, sys
from pathlib import Path
from composer.formats import read_onnx_signature
from composer.formats.onnx_initializers import DTYPES
from composer.core.location import Location
location = Location("repo", "m.onnx", Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
signature = read_onnx_signature(location)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = 1 if sys.platform == "darwin" else 1024
print(signature.nbytes, (after - before) * unit)
"""


def sparse_model(path: Path, nbytes: int) -> None:
    """Write a model of 3000 nodes whose one weight is a hole in the file."""
    nodes = [
        helper.make_node("Add", [f"v{n}", "w"], [f"v{n + 1}"], name=f"/layers.{n}/Add")
        for n in range(3000)
    ]
    made = model(nodes, [value("v0")], [value("v3000")], [])
    tensor = TensorProto(name="w", dims=[nbytes // 4], data_type=FLOAT).SerializeToString()
    tensor += b"\x4a" + varint(nbytes)
    graph = made.graph.SerializeToString()
    whole = len(graph) + 1 + len(varint(len(tensor) + nbytes)) + len(tensor) + nbytes
    made.ClearField("graph")
    with path.open("wb") as file:
        file.write(made.SerializeToString() + b"\x3a" + varint(whole) + graph)
        file.write(b"\x2a" + varint(len(tensor) + nbytes) + tensor)
        file.truncate(file.tell() + nbytes)


def varint(value: int) -> bytes:
    data = b""
    while value > 127:
        data += bytes([value & 127 | 128])
        value >>= 7
    return data + bytes([value])


def test_a_model_of_gigabytes_costs_megabytes(repo: Location) -> None:
    nbytes = 1_300_000_000
    sparse_model((repo / "m.onnx").path, nbytes)
    command = [sys.executable, "-c", MEASURE, str(repo.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    reported, grown = map(int, done.stdout.split())
    assert reported == nbytes
    assert grown < 16_000_000


def test_a_protobuf_file_ends_below_two_gigabytes(repo: Location) -> None:
    with (repo / "m.onnx").path.open("wb") as file:
        file.write(GOOD)
        file.truncate(2**31)
    assert refusal(lambda: read_onnx_signature(repo / "m.onnx")) == (
        "repo/m.onnx: S408 has 2147483648 bytes; protobuf files must be smaller than 2147483648\n"
        "    hint: save it with external data"
    )

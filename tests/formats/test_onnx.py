import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats import OnnxSignature, OnnxValue, read_onnx
from composer.formats.initializers import DTYPES
from tests.formats.making import HERE, one, refusal

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
    return read_onnx(HERE, one(data))


SEQUENCE = helper.make_tensor_sequence_value_info("s", FLOAT, None)
GOOD = model().SerializeToString()
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
BAD_PLACES = {
    "D1 up": "../w.data",
    "D1 up inside": "a/../../w.data",
    "D2 absolute": "/tmp/w.data",
    "D3 passwd": "/etc/passwd",
    "D9 empty": "",
    "D10 memory": "*/_ORT_MEM_ADDR_/*",
    "backslash": "..\\w.data",
    "drive": "C:w.data",
    "NUL": "w\0.data",
    "double slash": "a//b",
    "dot": ".",
    "long": "a" * 2000,
}


@pytest.mark.parametrize(("made", "text"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_model_is_refused(made: onnx.ModelProto | bytes, text: str) -> None:
    assert refusal(lambda: read(made)) == f"repo/m: {text}"


@pytest.mark.parametrize("place", BAD_PLACES.values(), ids=BAD_PLACES)
def test_external_data_stays_in_its_folder(place: str) -> None:
    text = refusal(lambda: read(model(weights=[external(place)])))
    shown = repr(place if len(place) <= 60 else place[:57] + "...")
    assert text == (
        f"repo/m: S448 the tensor 'w' stores its data in {shown}; expected a path in the folder of "
        "the model\n    hint: save the model with its data file beside it"
    )


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        pytest.param(
            external(offset=4, length=64),
            "S450 the tensor 'w' needs bytes 4 to 68 of w.data, which has 64\n"
            "    hint: the data file was cut off, or belongs to another model; download it again",
            id="D11 past the end",
        ),
        pytest.param(
            external(offset=-1, length=64),
            "S449 the tensor 'w' has offset, length -1, 64; expected whole numbers from 0",
            id="D12 negative offset",
        ),
        pytest.param(
            external(length=32),
            "S452 the tensor 'w' needs 64 bytes, but 32 are stored outside",
            id="length is not that of the dims",
        ),
        pytest.param(
            external(__class__="x"),
            "S449 the tensor 'w' has external data with the key '__class__'",
            id="unknown key",
        ),
    ],
)
def test_external_data_fits(repo: Location, tensor: onnx.TensorProto, text: str) -> None:
    (repo / "w.data").path.write_bytes(bytes(64))
    (repo / "m.onnx").path.write_bytes(model(weights=[tensor]).SerializeToString())
    assert refusal(lambda: read_onnx(repo / "m.onnx")) == f"repo/m.onnx: {text}"


def linked(repo: Location, how: str) -> str:
    """Lay out one hostile data file, return the refusal."""
    folder, outside = (repo / "onnx").path, (repo / "outside").path
    folder.mkdir()
    outside.write_bytes(bytes(64))
    place = "w.data"
    if how == "symlink":
        (folder / place).symlink_to(outside)
    elif how == "folder":
        (folder / "d").symlink_to(repo.path)
        place = "d/outside"
    elif how == "hardlink":
        os.link(outside, folder / place)
    elif how == "pipe":
        os.mkfifo(folder / place)
    elif how == "device":
        (folder / place).symlink_to("/dev/zero")
    (folder / "m.onnx").write_bytes(model(weights=[external(place)]).SerializeToString())
    return refusal(lambda: read_onnx(repo / "onnx/m.onnx"))


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (
            "symlink",
            "repo/onnx/w.data: S400 is a link that leads out of repo/onnx\n"
            "    hint: put the file itself there",
        ),
        (
            "folder",
            "repo/onnx/d/outside: S400 is a link that leads out of repo/onnx\n"
            "    hint: put the file itself there",
        ),
        (
            "hardlink",
            "repo/onnx/w.data: S451 has 2 names (hard links), so it may be a file from "
            "elsewhere\n    hint: replace it with a copy of its own",
        ),
        ("pipe", "repo/onnx/w.data: S402 is a named pipe, not a regular file"),
        (
            "device",
            "repo/onnx/w.data: S400 is a link that leads out of repo\n"
            "    hint: put the file itself there",
        ),
        (
            "missing",
            "repo/onnx/w.data: S401 repo/onnx/w.data does not exist\n    repo/onnx contains m.onnx",
        ),
    ],
)
def test_external_data_is_a_file_of_its_own(repo: Location, how: str, text: str) -> None:
    assert linked(repo, how) == text


def test_external_data_in_a_hugging_face_cache(tmp_path: Path) -> None:
    blobs, root = tmp_path / "blobs", tmp_path / "snapshots/abc"
    blobs.mkdir()
    (root / "onnx").mkdir(parents=True)
    made = model(weights=[external()])
    for name, data in (("m.onnx", made.SerializeToString()), ("w.data", bytes(64))):
        (blobs / name.encode().hex()).write_bytes(data)
        (root / "onnx" / name).symlink_to(f"../../../blobs/{name.encode().hex()}")
    os.link(blobs / b"w.data".hex(), tmp_path / "other")
    signature = read_onnx(Location("repo", "onnx/m.onnx", root))
    assert [str(file) for file in signature.files] == ["repo/onnx/m.onnx", "repo/onnx/w.data"]
    assert signature.nbytes == 64


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
    assert refusal(lambda: read_onnx(repo)) == (
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
    signature = read_onnx(repo / "m.onnx")
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
from composer.formats import read_onnx
from composer.formats.initializers import DTYPES
from composer.core.location import Location
location = Location("repo", "m.onnx", Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
signature = read_onnx(location)
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
    weighed, grown = map(int, done.stdout.split())
    assert weighed == nbytes
    assert grown < 16_000_000


def test_a_protobuf_file_ends_below_two_gigabytes(repo: Location) -> None:
    with (repo / "m.onnx").path.open("wb") as file:
        file.write(GOOD)
        file.truncate(2**31)
    assert refusal(lambda: read_onnx(repo / "m.onnx")) == (
        "repo/m.onnx: S408 has 2147483648 bytes; protobuf files must be smaller than 2147483648\n"
        "    hint: save it with external data"
    )

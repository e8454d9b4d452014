"""External data stays in its folder, fits its file, and is a file of its own."""

import os
from pathlib import Path

import onnx
import pytest

from composer.core.location import Location
from composer.formats import read_onnx_signature
from tests.formats.making import refusal
from tests.formats.onnx_models import external, model, read

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
    assert refusal(lambda: read_onnx_signature(repo / "m.onnx")) == f"repo/m.onnx: {text}"


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
    return refusal(lambda: read_onnx_signature(repo / "onnx/m.onnx"))


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
    signature = read_onnx_signature(Location("repo", "onnx/m.onnx", root))
    assert [str(file) for file in signature.files] == ["repo/onnx/m.onnx", "repo/onnx/w.data"]
    assert signature.nbytes == 64

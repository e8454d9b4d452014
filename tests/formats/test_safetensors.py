import json
import struct

import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save

from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats import read_safetensors
from tests.formats.making import HERE, MemoryFiles, entry, one, refusal, tensors

A = entry()
B = entry(offsets=(8, 16))
GOOD = tensors({"a": A, "b": B}, bytes(16))

HOSTILE = {
    "C1 empty": (b"", "S407 is empty; expected safetensors\n    hint: download it again"),
    "C2 seven bytes": (bytes(7), "S420 has 7 bytes; a safetensors header needs 8"),
    "C3 header of 2^64-1": (
        tensors({"a": A}, bytes(8), length=2**64 - 1),
        "S420 declares a header of 18446744073709551615 bytes; the limit is 10000000",
    ),
    "C4 header of 2^63": (
        tensors({"a": A}, bytes(8), length=2**63),
        "S420 declares a header of 9223372036854775808 bytes; the limit is 10000000",
    ),
    "C5 header of 11 MB": (
        tensors({"a": A}, bytes(8), length=11_000_000),
        "S420 declares a header of 11000000 bytes; the limit is 10000000",
    ),
    "header past the end": (
        tensors({"a": A}, b"", length=1000),
        "S420 declares a header of 1000 bytes but only 61 follow\n"
        "    hint: the file was cut off; download it again",
    ),
    "C6 header of 0": (tensors(b""), "S420 has no header that starts with '{'"),
    "C7 not JSON": (
        tensors(b"{a}"),
        "S410 the header is not JSON: Expecting property name enclosed in double quotes at byte 1",
    ),
    "C8 not UTF-8": (tensors(b'{"\xff": 1}'), "S410 the header has text that is not UTF-8"),
    "C9 a list": (tensors(b"[]"), "S420 has no header that starts with '{'"),
    "C10 deep": (
        tensors(b'{"a":' + b"[" * 100_000),
        "S412 the header is nested more than 8 levels deep",
    ),
    "wide": (
        tensors(b'{"a":[' + b"1," * 500_001 + b"1]}"),
        "S412 the header has more than 500000 values",
    ),
    "C11 overflow": (
        tensors({"a": entry(shape=[4194305, 4194305, 211106198978564])}, bytes(8)),
        "S424 tensor 'a' has the shape [4194305, 4194305, 211106198978564], "
        "which is too large to address",
    ),
    "overflow beside a zero": (
        tensors({"a": entry(shape=[0, 2**30, 2**30, 2**30], offsets=(0, 0))}),
        "S424 tensor 'a' has the shape [0, 1073741824, 1073741824, 1073741824], "
        "which is too large to address",
    ),
    "C12 shape is not bytes": (
        tensors({"a": entry(shape=[3])}, bytes(8)),
        "S427 tensor 'a' is F32 [3], 12 bytes, but data_offsets span 8",
    ),
    "C13 offset past the end": (
        tensors({"a": A, "b": B}, bytes(8)),
        "S431 its tensors need 16 bytes but 8 are there\n"
        "    hint: the file was cut off; download it again",
    ),
    "C14 reversed": (
        tensors({"a": entry(offsets=(8, 0))}, bytes(8)),
        "S427 tensor 'a' is F32 [2], 8 bytes, but data_offsets span -8",
    ),
    "C15 overlap": (
        tensors({"a": A, "b": entry(offsets=(4, 12))}, bytes(12)),
        "S428 tensor 'b' starts at 4, inside 'a', which ends at 8",
    ),
    "one inside another": (
        tensors(
            {"a": entry(shape=[6], offsets=(0, 24)), "b": B, "c": entry(offsets=(16, 24))},
            bytes(24),
        ),
        "S428 tensor 'b' starts at 8, inside 'a', which ends at 24\n"
        "repo/m: S428 tensor 'c' starts at 16, inside 'a', which ends at 24",
    ),
    "C16 hole": (
        tensors({"a": A, "b": entry(offsets=(12, 20))}, bytes(20)),
        "S429 bytes 8 to 12 belong to no tensor",
    ),
    "C17 trailing": (
        tensors({"a": A}, bytes(11)),
        "S430 3 bytes after the last tensor belong to none",
    ),
    "C18 truncated": (
        GOOD[:-1],
        "S431 its tensors need 16 bytes but 15 are there\n"
        "    hint: the file was cut off; download it again",
    ),
    "C19 negative shape": (
        tensors({"a": entry(shape=[-2])}, bytes(8)),
        "S424 tensor 'a' has the shape '[-2]'; expected a list of whole numbers from 0",
    ),
    "C20 float shape": (
        tensors({"a": entry(shape=[2.0])}, bytes(8)),
        "S424 tensor 'a' has the shape '[2.0]'; expected a list of whole numbers from 0",
    ),
    "boolean shape": (
        tensors({"a": entry(shape=[True, 2])}, bytes(8)),
        "S424 tensor 'a' has the shape '[True, 2]'; expected a list of whole numbers from 0",
    ),
    "C21 dtype": (
        tensors({"a": entry("F128")}, bytes(8)),
        "S423 tensor 'a' has the dtype 'F128'; expected one of BOOL, U8, I8, F8_E4M3, F8_E5M2, "
        "F8_E8M0, U16, I16, F16, BF16, U32, I32, F32, U64, I64, F64, C64",
    ),
    "dtype is a list": (
        tensors({"a": entry(["F32"])}, bytes(8)),
        "S423 tensor 'a' has the dtype \"['F32']\"; "
        "expected one of BOOL, U8, I8, F8_E4M3, F8_E5M2, "
        "F8_E8M0, U16, I16, F16, BF16, U32, I32, F32, U64, I64, F64, C64",
    ),
    "C22 metadata": (
        tensors({"__metadata__": {"step": 3}, "a": A}, bytes(8)),
        "S421 __metadata__['step'] is an integer; expected a string",
    ),
    "metadata is a list": (
        tensors({"__metadata__": [], "a": A}, bytes(8)),
        "S421 __metadata__ is a list; expected an object of strings",
    ),
    "C23 no dtype": (
        tensors({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
        "S422 tensor 'a' has 'data_offsets', 'shape'; expected exactly dtype, shape, data_offsets",
    ),
    "entry is a number": (
        tensors({"a": 3}),
        "S422 tensor 'a' has an integer; expected exactly dtype, shape, data_offsets",
    ),
    "three offsets": (
        tensors({"a": entry(offsets=[0, 4, 8])}, bytes(8)),
        "S422 tensor 'a' has data_offsets '[0, 4, 8]'; expected [start, end]",
    ),
    "C24 HTML": (
        b"<!DOCTYPE html><html><body>Please log in</body></html>",
        "S405 is a web page, not safetensors\n"
        "    hint: a login or an error page was saved in its place; download it again",
    ),
    "C25 LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
        "S404 is a Git LFS pointer, not safetensors\n"
        "    hint: run `git lfs pull` in the repository, or fetch the file from the Hub",
    ),
    "C26 pickle": (
        b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.",
        "S406 is a pickle, not safetensors\n"
        "    hint: such files are never loaded; convert it to safetensors if you trust it",
    ),
    "torch.save": (
        b"PK\x03\x04\x00\x00\x08\x08\x00\x00",
        "S406 is a zip archive, as torch.save and numpy.savez write, not safetensors\n"
        "    hint: such files are never loaded; convert it to safetensors if you trust it",
    ),
    "C27 duplicate key": (
        tensors(b'{"a":%b,"a":%b}' % (json.dumps(A).encode(), json.dumps(B).encode()), bytes(16)),
        "S411 the header has the key 'a' twice",
    ),
    "C28 5000 dims": (
        tensors({"a": entry(shape=[1] * 5000)}, bytes(8)),
        "S424 tensor 'a' has 5000 axes; the limit is 8",
    ),
    "C29 path": (
        tensors({"../../x": A}, bytes(8)),
        "S425 tensor '../../x' has a name that is not 1 to 256 of A-Z a-z 0-9 _ . - / without '..'",
    ),
    "C30 NUL": (
        tensors({"a\0b": A}, bytes(8)),
        "S425 tensor 'a\\x00b' has a name that is not 1 to 256 of A-Z a-z 0-9 _ . - / without '..'",
    ),
    "C31 1 MB name": (
        tensors({"a" * 2**20: A}, bytes(8)),
        f"S425 tensor '{'a' * 57}...' has a name that is not 1 to 256 of "
        "A-Z a-z 0-9 _ . - / without '..'",
    ),
    "C32 too many": (
        tensors({str(n): entry(shape=[0], offsets=(0, 0)) for n in range(50_001)}),
        "S426 has 50001 tensors; the limit is 50000",
    ),
    "C33 zero-size beyond": (
        tensors({"a": A, "z": entry(shape=[0], offsets=(4, 4))}, bytes(8)),
        "S428 tensor 'z' starts at 4, inside 'a', which ends at 8",
    ),
    "C34 extra field": (
        tensors({"a": entry(note="x")}, bytes(8)),
        "S422 tensor 'a' has 'data_offsets', 'dtype', 'note', 'shape'; "
        "expected exactly dtype, shape, data_offsets",
    ),
    "NaN": (
        tensors(b'{"a": NaN}'),
        "S413 the header has the number NaN, which is not valid JSON",
    ),
    "long integer": (
        tensors(b'{"a": %s}' % (b"9" * 5000)),
        "S413 the header has the number 99999999999999999999... (5000 digits), "
        "which is not valid JSON",
    ),
    "surrogate": (
        tensors(b'{"__metadata__": {"a": "\\ud800"}}'),
        "S410 the header has text that is half a surrogate pair",
    ),
}


@pytest.mark.parametrize(("data", "text"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_file_is_refused(data: bytes, text: str) -> None:
    assert refusal(lambda: read_safetensors(HERE, one(data))) == f"repo/m: {text}"


def test_every_violation_is_listed() -> None:
    bad = {f"t{n}": entry("F128") for n in range(60)}
    with pytest.raises(ComposerError) as caught:
        read_safetensors(HERE, one(tensors(bad, bytes(8))))
    assert len(caught.value.problems) == 50
    assert caught.value.problems[-1].causes == ("10 more problems like these are not shown",)


def test_tensors_say_where_their_bytes_are(repo: Location) -> None:
    data = {
        "speech.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
        "ids": np.array([7, 8], dtype=np.int64),
        "scalar": np.zeros((), dtype=np.float16),
        "none": np.zeros((0, 4), dtype=np.uint8),
    }
    (repo / "model.safetensors").path.write_bytes(save(data, metadata={"format": "mlx"}))
    index = read_safetensors(repo)
    weight = index["speech.weight"]
    assert (weight.dtype, weight.shape, weight.nbytes) == ("f32", (3, 4), 48)
    assert weight.file == repo / "model.safetensors"
    stored = weight.file.path.read_bytes()[weight.offset : weight.offset + weight.nbytes]
    assert stored == data["speech.weight"].tobytes()
    assert set(index) == set(data)
    assert index.nbytes == 48 + 16 + 2
    assert index.metadata == {"format": "mlx"}
    assert index.files == (repo / "model.safetensors",)


def test_metadata_that_mlx_writes_as_null_is_none() -> None:
    index = read_safetensors(HERE, one(tensors({"__metadata__": None, "a": A}, bytes(8))))
    assert (list(index), index.metadata) == (["a"], {})


def test_a_header_whose_length_looks_like_a_pickle_is_read() -> None:
    header = json.dumps({"a": A}).encode().ljust(0x280)
    assert struct.pack("<Q", len(header)).startswith(b"\x80\x02")
    assert list(read_safetensors(HERE, one(tensors(header, bytes(8))))) == ["a"]


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_.]{0,20}", fullmatch=True),
        arrays.arrays(
            st.sampled_from(
                ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
            ),
            arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        ),
        max_size=6,
    ),
    st.none() | st.dictionaries(st.text(max_size=8), st.text(max_size=8), min_size=1, max_size=3),
)
def test_what_the_library_writes_is_read(
    data: dict[str, np.ndarray], metadata: dict[str, str] | None
) -> None:
    written = save(data, metadata=metadata)
    index = read_safetensors(HERE, one(written))
    assert index.metadata == (metadata or {})
    assert set(index) == set(data)
    for name, array in data.items():
        tensor = index[name]
        assert tensor.shape == array.shape
        assert written[tensor.offset : tensor.offset + tensor.nbytes] == array.tobytes()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_sound(data: st.DataObject) -> None:
    """What is accepted here, the library accepts too, with the same tensors."""
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
        index = read_safetensors(HERE, one(bytes(damaged)))
    except ComposerError:
        return
    known = dict(safetensors.deserialize(bytes(damaged)))
    assert {name: list(tensor.shape) for name, tensor in index.items()} == {
        name: tensor["shape"] for name, tensor in known.items()
    }


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ComposerError):
        read_safetensors(HERE, one(data))


def test_problems_of_all_shards_are_reported() -> None:
    files = MemoryFiles(
        {
            "model-00001-of-00002.safetensors": GOOD[:-1],
            "model-00002-of-00002.safetensors": tensors({"a": entry("F128")}),
        }
    )
    text = refusal(lambda: read_safetensors(Location("repo", "", None), files))
    assert "repo/model-00001-of-00002.safetensors: S431 " in text
    assert "repo/model-00002-of-00002.safetensors: S423 " in text

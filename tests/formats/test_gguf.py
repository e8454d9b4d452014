"""GGUF headers against gguf's own writer, and hostile ones, each refused in bounds."""

import struct

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from composer.core.location import Location
from composer.formats.gguf import BLOCKS, read_gguf
from tests.formats.making import HERE, MemoryFiles, refusal

FILE = HERE / "model.gguf"
U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(value)) + value


def pair(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def u32(value):
    return struct.pack("<I", value)


def u64(value):
    return struct.pack("<Q", value)


def entry(name="a", shape=(32, 2), kind=8, offset=0, axes=None):
    dims = b"".join(map(u64, shape))
    return text(name) + u32(len(shape) if axes is None else axes) + dims + u32(kind) + u64(offset)


def header(pairs=(), tensors=(), version=3, count=None, keys=None):
    count = len(tensors) if count is None else count
    keys = len(pairs) if keys is None else keys
    head = b"GGUF" + struct.pack("<IQQ", version, count, keys)
    return head + b"".join(pairs) + b"".join(tensors)


def whole(pairs=(), tensors=None, data=68, alignment=32):
    head = header(pairs, tensors or [entry()])
    return head + bytes(-len(head) % alignment) + bytes(data)


def read(data):
    return read_gguf(FILE, MemoryFiles({FILE.inside: data}))


def test_it_reads_what_ggufs_own_writer_writes(tmp_path):
    file = tmp_path / "model.gguf"
    writer = GGUFWriter(file, "llama")
    writer.add_custom_alignment(64)
    values = {"u": 7, "f": 0.5, "s": "ä", "b": True}
    writer.add_uint32("u", 7)
    writer.add_float32("f", 0.5)
    writer.add_string("s", "ä")
    writer.add_bool("b", True)
    writer.add_array("numbers", [1, 2, 3])
    writer.add_array("words", ["one", "", "drei"])
    for number, shape in enumerate([(3, 5, 2), (4,), (7, 32)]):
        writer.add_tensor(f"t{number}", np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_gguf(Location("repo", file.name, tmp_path))
    assert {key: found.metadata[key] for key in values} == values
    assert found.metadata["numbers"] == [1, 2, 3]
    assert found.metadata["words"] == ["one", "", "drei"]
    theirs = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    assert found.tensors.keys() == theirs.keys()
    for name, tensor in found.tensors.items():
        assert tensor.shape == tuple(theirs[name].shape[::-1])
        assert (tensor.offset, tensor.nbytes) == (theirs[name].data_offset, theirs[name].n_bytes)
    assert [found.tensors[name].shape for name in ("t0", "t1")] == [(3, 5, 2), (4,)]


def test_a_header_longer_than_a_piece_is_read(tmp_path):
    words = [f"word {number}" for number in range(200_000)]
    file = tmp_path / "model.gguf"
    writer = GGUFWriter(file, "llama")
    writer.add_array("words", words)
    writer.add_string("last", "end")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_gguf(Location("repo", file.name, tmp_path))
    assert found.metadata["words"] == words
    assert found.metadata["last"] == "end"


NESTED = u32(ARRAY) + u64(1)
HOSTILE = {
    "E1 magic": (b"GGML" + bytes(60), "S420 does not begin with GGUF"),
    "E2 empty": (b"", "S407 is empty; expected GGUF\n    hint: download it again"),
    "a pickle": (b"\x80\x04" + bytes(60), "S406 is a pickle, not GGUF\n"
     "    hint: such files are never loaded; convert it to safetensors if you trust it"),
    "cut in the head": (b"GGUF" + u32(3), "S420 its header has at least 16 bytes; the file has 8"),
    "E3 version 1": (
        header(version=1),
        "S420 is GGUF, version 1; versions 2 and 3, little endian, are read",
    ),
    "E4 version 99": (
        header(version=99),
        "S420 is GGUF, version 99; versions 2 and 3, little endian, are read",
    ),
    "E5 big-endian": (
        header(version=3 << 24),
        "S420 is GGUF, big-endian; versions 2 and 3, little endian, are read",
    ),
    "E6 keys of 2^64-1": (
        header(keys=2**64 - 1),
        "S426 has 18446744073709551615 metadata keys; the limit is 10000",
    ),
    "E7 more keys than bytes": (
        header(keys=9_999),
        "S420 has 9999 metadata keys, but only 0 bytes follow",
    ),
    "E8 tensors of 2^63": (
        header(count=2**63),
        "S426 has 9223372036854775808 tensors; the limit is 50000",
    ),
    "E9 text of 2^64-1": (
        header([text("k") + u32(STRING) + u64(2**64 - 1)]),
        "S420 the text of 'k' has 18446744073709551615 bytes; the limit is 4194304",
    ),
    "a text beyond the file": (
        header([text("k") + u32(STRING) + u64(1000)]),
        "S420 its header has at least 1045 bytes; the file has 45",
    ),
    "E11 array of 2^62": (
        header([pair("k", ARRAY, u32(U32) + u64(2**62))]),
        "S426 has 4611686018427387904 elements up to 'k'; the limit is 4000000",
    ),
    "arrays that are too many together": (
        header([pair(f"k{n}", ARRAY, u32(BOOL) + u64(1_500_000) + bytes(1_500_000))
                for n in range(3)]),
        "S426 has 4500000 elements up to 'k2'; the limit is 4000000",
    ),
    "E12 nested arrays": (
        header([pair("k", ARRAY, NESTED * 2000)]),
        "S421 'k' is an array of arrays",
    ),
    "an array of no type": (
        header([pair("k", ARRAY, u32(77) + u64(1) + bytes(8))]),
        "S421 'k' is an array of the type 77, which is none",
    ),
    "a value of no type": (
        header([pair("k", 13, bytes(8))]),
        "S421 'k' has the type 13, which is none",
    ),
    "E13 alignment 0": (
        whole([pair("general.alignment", U32, u32(0))]),
        "S421 general.alignment is 0; expected a multiple of 8 up to 1048576",
    ),
    "E14 alignment 2^31": (
        whole([pair("general.alignment", U32, u32(2**31))]),
        "S421 general.alignment is 2147483648; expected a multiple of 8 up to 1048576",
    ),
    "E15 alignment 3": (
        whole([pair("general.alignment", U32, u32(3))]),
        "S421 general.alignment is 3; expected a multiple of 8 up to 1048576",
    ),
    "an alignment that is text": (
        whole([pair("general.alignment", STRING, text("32"))]),
        "S421 general.alignment is 32; expected a multiple of 8 up to 1048576",
    ),
    "E16 axes of 2^32-1": (
        whole(tensors=[entry(axes=2**32 - 1)]),
        "S424 tensor 'a' has 4294967295 axes; the limit is 8",
    ),
    "E17 dims that overflow": (
        whole(tensors=[entry(shape=(2**31 - 32, 2**31 - 1, 2**31 - 1))]),
        "S424 tensor 'a' has the shape [2147483647, 2147483647, 2147483616], which is too large to "
        "address",
    ),
    "one dim that overflows": (
        whole(tensors=[entry(shape=(2**63,))]),
        "S424 tensor 'a' has the shape [9223372036854775808], which is too large to address",
    ),
    "E19 type 999": (
        whole(tensors=[entry(kind=999)]),
        "S423 tensor 'a' has the type 999; expected one of F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, "
        "Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, I32, F64, BF16",
    ),
    "a type that is known and not read": (
        whole(tensors=[entry(kind=16)]),
        "S423 tensor 'a' has the type IQ2_XXS; expected one of F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, "
        "Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, I32, F64, BF16",
    ),
    "E20 offset of 10^15": (
        whole(tensors=[entry(offset=32 * 10**14)]),
        "S429 bytes 96 to 3200000000000096 belong to no tensor\n"
        "repo/m/model.gguf: S431 its tensors need 3200000000000164 bytes but 164 are there\n"
        "    hint: the file was cut off; download it again",
    ),
    "an offset of no alignment": (
        whole(tensors=[entry(offset=8)]),
        "S427 tensor 'a' starts at 8, which is no multiple of the alignment 32",
    ),
    "part of a block": (
        whole(tensors=[entry(shape=(33, 2))]),
        "S427 tensor 'a' is Q8_0 [2, 33], but rows of 33 are no whole number of blocks of 32",
    ),
    "E21 a tensor twice": (
        whole(tensors=[entry(), entry()]),
        "S435 has the tensor 'a' twice",
    ),
    "E22 a key twice": (
        whole([pair("k", BOOL, b"\1"), pair("k", BOOL, b"\0")]),
        "S421 has the key 'k' twice",
    ),
    "E23 data cut off": (
        whole(data=67),
        "S431 its tensors need 164 bytes but 163 are there\n"
        "    hint: the file was cut off; download it again",
    ),
    "E24 overlap": (
        whole(tensors=[entry(), entry("b", offset=32)], data=200),
        "S428 tensor 'b' starts at 160, inside 'a', which ends at 196\n"
        "repo/m/model.gguf: S430 100 bytes after the last tensor belong to none",
    ),
    "a hole": (
        whole(tensors=[entry(), entry("b", offset=160)], data=228),
        "S429 bytes 196 to 288 belong to no tensor",
    ),
    "bytes after the end": (whole(data=100), "S430 32 bytes after the last tensor belong to none"),
    "E25 not UTF-8": (
        header([pair("k", STRING, text(b"\xff"))]),
        "S421 the text of 'k' is not UTF-8",
    ),
    "E26 a name that climbs": (
        whole(tensors=[entry("../../x")]),
        "S425 tensor '../../x' has a name that is not 1 to 256 of A-Z a-z 0-9 _ . - / without '..'",
    ),
    "E27 a key of 64 KB": (
        header([pair("k" * 65_537, BOOL, b"\1")]),
        "S420 a key has 65537 bytes; the limit is 65536",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_it_refuses(case):
    data, message = HOSTILE[case]
    assert refusal(lambda: read(data)) == f"{FILE}: {message}"


def test_all_faults_of_tensors_are_reported_at_once():
    data = whole(tensors=[entry("a", kind=999), entry("b", offset=8), entry("c", shape=(1,))])
    found = refusal(lambda: read(data))
    assert [line.split()[1] for line in found.splitlines()] == ["S423", "S427", "S427"]


def test_a_tensor_without_elements_and_a_scalar_are_read():
    data = whole(tensors=[entry("a", (0,), kind=0), entry("b", (), kind=0)], data=4)
    found = read(data).tensors
    assert {name: (t.shape, t.nbytes) for name, t in found.items()} == {
        "a": ((0,), 0),
        "b": ((), 4),
    }


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_file_that_ends_anywhere_is_refused(cut):
    data = whole([pair("k", STRING, text("abc")), pair("n", ARRAY, u32(F32) + u64(2) + bytes(8))])
    assert read(data).metadata == {"k": "abc", "n": [0.0, 0.0]}
    refusal(lambda: read(data[: len(data) * cut // 8]))


def test_every_type_is_of_ggmls_sizes():
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    for kind, (name, elements, size) in BLOCKS.items():
        assert GGMLQuantizationType(kind).name == name.upper()
        assert GGML_QUANT_SIZES[GGMLQuantizationType(kind)] == (elements, size)

"""The readers of untrusted files, each fed bytes; only ComposerError may come out."""

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
from onnx import helper
from safetensors.numpy import save

from composer.core.errors import ComposerError
from composer.formats import read_onnx_signature, read_safetensors
from composer.formats.image.reading import read_picture
from composer.manifest import read_manifest
from tests.formats.making import HERE, one
from tests.formats.onnx_models import GOOD, branch, external, model, value
from tests.fuzz import checkpoints, media

ROOT = Path(__file__).parents[2]
MANIFESTS = ("bundles/mega-asr-mini/bundle.yaml", "tests/manifests/elderwise.yaml")


@dataclass(frozen=True)
class Reader:
    """A reader, files that it takes, and pieces of its format."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    pieces: tuple[bytes, ...]


def read(name: str, data: bytes) -> None:
    """Read bytes; anything but an answer or a refusal is a fault, and is raised."""
    with suppress(ComposerError):
        READERS[name].read(data)


def _manifest(data: bytes) -> None:
    suffix = ".json" if data.startswith(b"{") else ".yaml"
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(data)
        file.flush()
        try:
            read_manifest(Path(file.name))
        except ComposerError as error:
            unplaced = [problem for problem in error.problems if not problem.place]
            if unplaced:
                raise AssertionError(unplaced[0]) from error


def _safetensors(data: bytes) -> None:
    index = read_safetensors(HERE, one(data))
    known = dict(safetensors.deserialize(data))
    assert {name: list(tensor.shape) for name, tensor in index.items()} == {
        name: tensor["shape"] for name, tensor in known.items()
    }


def _onnx(data: bytes) -> None:
    read_onnx_signature(HERE, one(data))


def _models() -> tuple[bytes, ...]:
    nodes = [
        helper.make_node(
            "If", ["c"], ["y"], then_branch=branch("t", "x", "t.w"), else_branch=branch("e", "x")
        )
    ]
    nested = model(nodes, [value("x"), value("c", [])])
    outside = model(weights=[external(offset=0, length=64)])
    return GOOD, nested.SerializeToString(), outside.SerializeToString()


def _tensors() -> tuple[bytes, ...]:
    two = {"a": np.zeros((2, 3), np.float32), "b.weight": np.ones(4, np.int8)}
    return save(two), save({"x": np.zeros((0, 4), np.float16)}, metadata={"format": "mlx"})


def _manifests() -> tuple[bytes, ...]:
    import yaml

    texts = [(ROOT / name).read_bytes() for name in MANIFESTS]
    return *texts, json.dumps(yaml.safe_load(texts[0])).encode()


READERS = {
    "manifest": Reader(
        _manifest,
        _manifests(),
        (b"composer: 1\n", b"\n  ", b": ", b"- ", b"&a ", b"*a", b"<<: ", b"!!python/", b"{", b"}",
         b"[", b"]", b'"', b"'", b"|\n", b"$audio", b"repo/", b"../", b"\t", b"\0", b"\xff",
         b"9" * 30, b".inf", b"null", b"graph:", b"variants:", b"\xef\xbb\xbf", b"\\u"),
    ),
    "safetensors": Reader(
        _safetensors,
        _tensors(),
        (b'"dtype"', b'"shape"', b'"data_offsets"', b'"__metadata__"', b'"F32"', b'"BF16"', b"[",
         b"]", b"{", b"}", b",", b":", b"-1", b"1e9", b"18446744073709551615", b"NaN", b"true",
         b"\\ud800", b"\0" * 8, b"\xff" * 8, b"0,0", b'"a"'),
    ),
    "audio": Reader(
        media.read_sound,
        media.sounds(),
        (b"RIFF", b"data", b"fmt ", b"fact", b"LIST", b"ds64", b"SSND", b"fLaC", b"OggS",
         b"OpusHead", b"ID3\4", b"TAG", b"\xff\xfb\x90", b"\xff" * 4, b"\0" * 4,
         b"\x7f\xff\xff\xff"),
    ),
    "picture": Reader(
        read_picture,
        media.pictures(),
        (b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"acTL", b"\xff\xd8",
         b"\xff\xc2", b"\xff\xda", b"Exif\0\0", b"VP8X", b"VP8L", b"ANIM", b",\0\0\0\0",
         b"\xff\xff\xff\xff", b"\0\0\0\0"),
    ),
    "results": Reader(
        media.read_lines,
        media.results(),
        (b"\n", b'"id"', b'"hypothesis"', b'"error"', b"null", b"{", b"}", b"[", b"NaN", b"1e999",
         b"-1", b"\\ud800", b"\0", b"\xff", b"9" * 400, b"[" * 2000),
    ),
    "gguf": Reader(
        checkpoints.read_gguf_file,
        checkpoints.ggufs(),
        (b"GGUF", b"\x03\0\0\0", b"\x09\0\0\0", b"\x08\0\0\0", b"\xff" * 8,
         b"\0" * 8, b"\x01\0\0\0",
         b"general.alignment", b"\xff\xff\xff\x7f", b"\x1e\0\0\0", b"\x0c\0\0\0", b"../"),
    ),
    "tokenizer": Reader(
        checkpoints.read_tokenizer_file,
        checkpoints.tokenizers(),
        (b'"Regex"', b'"String"', b'"Sequence"', b'"Precompiled"', b'"Prepend"', b'"Metaspace"',
         b'"Digits"', b'"content"', b'"merges"', b"(a+)+", b"(?:", b"[[", b"{9,}", b"null",
         b"true", b"-1", b"1e99", b"16777215", b"[]", b"{}", b'""', b"\\ud800", b"\\u0000"),
    ),
    "config": Reader(
        checkpoints.read_config_file,
        checkpoints.configs(),
        (b'"rope_parameters"', b'"rope_scaling"', b'"layer_types"', b'"quantization"',
         b'"text_config"', b'"audio_config"', b'"eos_token_id"', b'"hidden_size"', b"null",
         b"true", b"-1", b"0", b"0.0", b"1e99", b"1e-320", b"9223372036854775808", b"[]", b"{}",
         b'""', b'"silu"', b'"yarn"', b"[[]]", b'{"a": 1}', b"NaN"),
    ),
    "lock": Reader(
        checkpoints.read_lock_file,
        checkpoints.locks(),
        (b'"files"', b'"sources"', b"../", b"/etc/passwd", b"null", b"-1", b"1e99", b"[]", b"{}",
         b"\\ud800", b"\\u0000", b'"lock": 2', b"9" * 30),
    ),
    "array": Reader(
        checkpoints.read_array,
        checkpoints.arrays(),
        (b"\x93NUMPY", b"'<f4'", b"'|O'", b"'fortran_order'", b"True", b"(1,)", b"()", b"(-1,)",
         b"'<U9'", b"'<M8[s]'", b"[('a', '<f4')]", b"9999999999999999999", b"\0" * 8, b'"x"'),
    ),
    "onnx": Reader(
        _onnx,
        _models(),
        (b"\x08\x08", b"\x3a", b"\x0a", b"\x12", b"\x22", b"\x2a", b"\x42", b"\x4a", b"\x6a",
         b"\x72", b"\x70\x01", b"\xff" * 9 + b"\x01", b"\x80\x01", b"location", b"../w.data",
         b"If", b"Loop", b"com.microsoft", b"\x00", b"\x7f", b"\xff\xff\xff\xff\x07"),
    ),
}  # fmt: skip

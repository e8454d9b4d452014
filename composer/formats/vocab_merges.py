"""Build the tokenizer.json of a folder that has vocab.json and merges.txt instead.

Older releases, Qwen3-ASR's among them, keep byte-level BPE in these two files and added tokens in
tokenizer_config.json; `tokenizer_class` there says how text is split. What is built is read as any
tokenizer.json is.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from composer.core.location import Location
from composer.formats.file_problems import refuse, show
from composer.formats.files import Files
from composer.formats.strictjson import parse_object

VOCAB, MERGES, CONFIG = "vocab.json", "merges.txt", "tokenizer_config.json"
SIZE = 64_000_000
VALUES = 8_000_000
FLAGS = ("lstrip", "normalized", "rstrip", "single_word", "special")
# The pattern that Qwen2Tokenizer splits by, as its documentation and code in transformers have it.
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}


def split_pre_tokenizer(pattern: str) -> dict[str, Any]:
    """Return the pre-tokenizer that cuts text by a pattern, then takes its bytes."""
    regex = {"Regex": pattern}
    split = {"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, {**BYTES, "use_regex": False}]}


PIPELINES: dict[str, dict[str, Any]] = {
    "Qwen2Tokenizer": {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": split_pre_tokenizer(QWEN2),
    },
    "GPT2Tokenizer": {"normalizer": None, "pre_tokenizer": {**BYTES, "use_regex": True}},
}


def has_vocab_merges(folder: Location, files: Files) -> bool:
    """Return whether a folder has both files, and no tokenizer.json."""
    if files.kind(folder / "tokenizer.json") is not None:
        return False
    return files.kind(folder / VOCAB) == files.kind(folder / MERGES) == "file"


def build_vocab_tokenizer(vocab: Location, files: Files) -> bytes:
    """Return a tokenizer.json for the folder of this vocab.json; refuse what it cannot be."""
    folder = replace(vocab, inside=vocab.inside.rpartition("/")[0])
    config = parse_object(folder / CONFIG, _read(folder / CONFIG, files), values=VALUES)
    name = str(config.get("tokenizer_class")).removesuffix("Fast")
    if name not in PIPELINES:
        refuse(
            folder / CONFIG,
            "S460",
            f"tokenizer_class is {show(name)}; expected one of {', '.join(PIPELINES)}",
            hint=f"save the tokenizer with transformers, so that tokenizer.json is beside {VOCAB}",
        )
    if config.get("add_prefix_space"):
        refuse(folder / CONFIG, "S460", "add_prefix_space is true, which is not supported here")
    model = {
        "type": "BPE",
        "vocab": parse_object(vocab, _read(vocab, files), values=VALUES),
        "merges": _merges(folder / MERGES, files),
    }
    decoder = {**BYTES, "use_regex": True}
    added = _added(folder / CONFIG, config)
    built = {"version": "1.0", "added_tokens": added, **PIPELINES[name], "decoder": decoder}
    return json.dumps({**built, "model": model}).encode()


def _read(location: Location, files: Files) -> bytes:
    with files.open(location) as ranges:
        if ranges.size > SIZE:
            refuse(location, "S408", f"has {ranges.size} bytes; the limit is {SIZE}")
        return ranges.read(0, ranges.size)


def _merges(location: Location, files: Files) -> list[list[str]]:
    """Return the pairs of a merges.txt, one a line below the line of its version."""
    try:
        lines = _read(location, files).decode().split("\n")
    except UnicodeDecodeError as error:
        refuse(location, "S460", f"is not UTF-8: byte {error.start}")
    found = []
    for number, line in enumerate(lines, start=1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.rstrip("\r").split(" ")
        if len(pair) != 2 or not all(pair):
            refuse(location, "S460", f"line {number} is not a pair of tokens: {show(line)}")
        found.append(pair)
    return found


def _added(location: Location, config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tokens of `added_tokens_decoder`, by their ids."""
    table = config.get("added_tokens_decoder", {})
    if not isinstance(table, dict):
        refuse(location, "S460", "added_tokens_decoder is no object")
    found = []
    for id, token in table.items():
        if not id.isascii() or not id.isdigit() or not isinstance(token, dict):
            refuse(location, "S460", f"added_tokens_decoder has {show(id)}, which is no token's id")
        if unknown := sorted(token.keys() - {"content", "__type", *FLAGS}):
            refuse(location, "S460", f"the added token {id} has the key {show(unknown[0])}")
        flags = {flag: token.get(flag, False) for flag in FLAGS}
        found.append({"id": int(id), "content": token.get("content"), **flags})
    return sorted(found, key=lambda token: token["id"])

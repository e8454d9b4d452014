"""Build the tokenizer.json that a GGUF file's metadata stands for.

llama.cpp names how text is split by `tokenizer.ggml.pre`; a vocabulary of SentencePiece has scores
in place of merges, but for Gemma-4's, which has both. What is built is read as any tokenizer.json
is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any, TypeGuard

from composer.core.location import Location
from composer.formats.file_problems import refuse, show
from composer.formats.files import Files
from composer.formats.gguf import read_gguf
from composer.formats.vocab_merges import BYTES, PIPELINES, split_pre_tokenizer

KEY = "tokenizer.ggml."
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
PIECE = 256  # characters of a token of SentencePiece
CHARACTERS = 8_000_000  # of all tokens together, each of which is cut at every one of them
MERGES = 2_000_000  # four times those of Gemma's 262,144 tokens
# The pattern of Llama 3's tokenizer.json; llama.cpp's for the name llama-bpe.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS: dict[str, dict[str, Any]] = {
    "qwen2": PIPELINES["Qwen2Tokenizer"],
    "llama-bpe": {"normalizer": None, "pre_tokenizer": split_pre_tokenizer(LLAMA3)},
    "gpt-2": PIPELINES["GPT2Tokenizer"],
}
WHOLE_WORDS = ("llama-bpe",)  # take a word that is a token before they merge


def build_gguf_tokenizer(file: Location, files: Files) -> bytes:
    """Return a tokenizer.json for a GGUF file; refuse one that has none that is known."""
    metadata = read_gguf(file, files).metadata
    tokens = _texts(file, metadata, "tokens")
    types = metadata.get(f"{KEY}token_type", [NORMAL] * len(tokens))
    if not isinstance(types, list) or len(types) != len(tokens):
        refuse(file, "S460", f"{KEY}token_type is not one number for each of {len(tokens)} tokens")
    vocab = {token: number for number, token in enumerate(tokens)}
    if len(vocab) < len(tokens):
        refuse(file, "S461", f"{KEY}tokens has {len(tokens) - len(vocab)} tokens twice")
    model = metadata.get(f"{KEY}model")
    if model == "gpt2":
        built = _byte_level(file, metadata, vocab)
    elif model == "llama":
        merges = _merges_by_score(file, metadata, vocab, types)
        prefix = metadata.get(f"{KEY}add_space_prefix", True)
        built = _sentence_piece(vocab, types, merges, bool(prefix))
    elif model == "gemma4":
        built = _sentence_piece(vocab, types, _stored_merges(file, metadata), prefix=False)
    else:
        refuse(
            file,
            "S460",
            f"{KEY}model is {show(str(model))}; expected gpt2, llama or gemma4",
            hint="put the tokenizer.json of the original checkpoint beside the file",
        )
    added = [_added(token, number, types[number]) for token, number in vocab.items()
             if types[number] in (CONTROL, USER_DEFINED)]  # fmt: skip
    return json.dumps({"version": "1.0", "added_tokens": added, **built}).encode()


def _texts(file: Location, metadata: Mapping[str, Any], key: str) -> list[str]:
    found = metadata.get(KEY + key)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        refuse(
            file,
            "S460",
            f"has no {KEY}{key}",
            hint="put the tokenizer.json of the original checkpoint beside the file",
        )
    return found


def _are_numbers(values: Any) -> TypeGuard[list[float]]:
    """Return whether this is a list of finite numbers, by which pieces can be ordered."""
    if not isinstance(values, list):
        return False
    return all(isinstance(each, int | float) and isfinite(each) for each in values)


def _added(token: str, number: int, kind: int) -> dict[str, Any]:
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {"id": number, "content": token, "special": kind == CONTROL, **flags}


def _byte_level(
    file: Location, metadata: Mapping[str, Any], vocab: dict[str, int]
) -> dict[str, Any]:
    """Return byte-level BPE with the merges that are stored."""
    split = metadata.get(f"{KEY}pre", "gpt-2")
    if split not in SPLITS:
        refuse(
            file,
            "S460",
            f"{KEY}pre is {show(str(split))}; expected one of {', '.join(SPLITS)}",
            hint="put the tokenizer.json of the original checkpoint beside the file",
        )
    model = {
        "type": "BPE",
        "vocab": vocab,
        "merges": _stored_merges(file, metadata),
        "ignore_merges": split in WHOLE_WORDS,
    }
    return {**SPLITS[split], "decoder": {**BYTES, "use_regex": True}, "model": model}


def _stored_merges(file: Location, metadata: Mapping[str, Any]) -> list[list[str]]:
    """Return pairs of tokens that become one, the first that may merge first."""
    merges = []
    for number, line in enumerate(_texts(file, metadata, "merges")):
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair):
            refuse(file, "S460", f"{KEY}merges {number} is not a pair of tokens: {show(line)}")
        merges.append(pair)
    return merges


def _merges_by_score(
    file: Location, metadata: Mapping[str, Any], vocab: dict[str, int], types: list[int]
) -> list[list[str]]:
    """Return the pairs that make a token, the best score first."""
    scores = metadata.get(f"{KEY}scores")
    if not _are_numbers(scores) or len(scores) != len(vocab):
        refuse(file, "S460", f"{KEY}scores is not one number for each of {len(vocab)} tokens")
    ranked: list[tuple[float, int, int, str, str]] = []
    pieces = {token: number for token, number in vocab.items() if types[number] == NORMAL}
    if (characters := sum(map(len, pieces))) > CHARACTERS:
        what = f"the tokens have {characters} characters; the limit is {CHARACTERS}"
        refuse(file, "S463", what)
    for token, number in pieces.items():
        if len(token) > PIECE:
            refuse(file, "S460", f"the token {show(token)} has {len(token)} characters")
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in pieces and right in pieces:
                ranked.append((-scores[number], pieces[left], pieces[right], left, right))
        if len(ranked) > MERGES:
            refuse(file, "S463", f"its tokens are merged in more than {MERGES} ways")
    return [[left, right] for *_, left, right in sorted(ranked)]


def _sentence_piece(
    vocab: dict[str, int], types: list[int], merges: list[list[str]], prefix: bool
) -> dict[str, Any]:
    """Return BPE over whole characters; a space is `▁`, with a `prefix` before every text too.

    A character without a token is its bytes.
    """
    unknown = [token for token, number in vocab.items() if types[number] == UNKNOWN]
    model = {
        "type": "BPE",
        "vocab": vocab,
        "merges": merges,
        "unk_token": unknown[0] if unknown else None,
        "byte_fallback": BYTE in types,
        "fuse_unk": True,
    }
    spaces: list[dict[str, Any]] = [{"type": "Prepend", "prepend": "▁"}] if prefix else []
    spaces.append({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "normalizer": {"type": "Sequence", "normalizers": spaces},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": model,
    }

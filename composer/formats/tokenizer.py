"""Read tokenizer.json: its tokens and IDs, and refuse what could hang or exhaust memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from composer.core.location import Location
from composer.formats.file_problems import FileProblems, refuse, show
from composer.formats.files import Files, LocalFiles
from composer.formats.gguf import SUFFIX as GGUF
from composer.formats.gguf_tokenizer import build_gguf_tokenizer
from composer.formats.post_processor import leading_special_tokens
from composer.formats.strictjson import kind, parse_object
from composer.formats.tokenizer_patterns import check_pipeline
from composer.formats.vocab_merges import VOCAB, build_vocab_tokenizer, has_vocab_merges
from composer.formats.wrong_file_type import refuse_wrong_type

SIZE = 64_000_000
VALUES = 8_000_000
IDS = 2**24
MODELS = ("BPE", "WordPiece", "WordLevel", "Unigram")
WORD = 1000  # characters of a word that WordPiece takes apart, in time by their square
FLAGS = ("special", "normalized", "lstrip", "rstrip", "single_word")


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is matched in the text before the model tokenizes it."""

    id: int
    content: str
    special: bool
    normalized: bool
    lstrip: bool
    rstrip: bool
    single_word: bool


@dataclass(frozen=True, eq=False)
class TokenizerInfo:
    """A tokenizer's tokens, `vocab` of its model and `added` beside it; `normalizer` as stored.

    `first` are those that it puts before every text by itself.
    """

    model: str
    vocab: Mapping[str, int]
    added: Mapping[str, AddedToken]
    normalizer: Mapping[str, Any] | None = None
    first: tuple[str, ...] = ()

    def id_of(self, token: str) -> int | None:
        """Return a token's ID, or None where the tokenizer does not have it."""
        if token in self.added:
            return self.added[token].id
        return self.vocab.get(token)

    @property
    def size(self) -> int:
        """Count the distinct tokens."""
        return len(self.vocab) + sum(token not in self.vocab for token in self.added)

    @property
    def ids(self) -> set[int]:
        """Return the ids of all tokens."""
        return {*self.vocab.values(), *(token.id for token in self.added.values())}

    @property
    def max_id(self) -> int:
        """Return the largest ID; an embedding needs at least one row more than that."""
        return max(self.ids, default=-1)


def read_tokenizer(location: Location, files: Files | None = None) -> TokenizerInfo:
    """Describe a tokenizer.json, or the one in a folder."""
    files = files or LocalFiles()
    location = tokenizer_file(location, files)
    data = tokenizer_bytes(location, files)
    content = parse_object(location, data, values=VALUES)
    report = FileProblems()
    model = content.get("model")
    if not isinstance(model, dict):
        refuse(location, "S460", f"model is {kind(model)}; expected an object")
    name = model.get("type", "BPE" if "merges" in model else None)
    if name not in MODELS:
        report.at(
            location,
            "S460",
            f"the model's type is {show(str(name))}; expected one of {', '.join(MODELS)}",
        )
    _check_model(location, model, report)
    vocab = _vocab(location, model.get("vocab"), report)
    added = _added(location, content.get("added_tokens"), report)
    check_pipeline(location, content, report)
    report.raise_any()
    _check_unique_ids(location, vocab, added, report)
    report.raise_any()
    first = leading_special_tokens(content.get("post_processor"))
    return TokenizerInfo(str(name), vocab, added, content.get("normalizer"), first)


def _check_model(location: Location, model: dict[str, Any], report: FileProblems) -> None:
    """Report a model that draws lots, or whose time grows with the square of a word."""
    if model.get("dropout"):
        message = f"dropout is {show(str(model['dropout']))}: two runs would give other ids"
        report.at(location, "S463", f"{message}; set it to null")
    most = model.get("max_input_chars_per_word", 100)
    if model.get("type") == "WordPiece" and (type(most) is not int or not 0 <= most <= WORD):
        message = f"max_input_chars_per_word is {show(str(most))}; the limit is {WORD}"
        report.at(location, "S463", message)


def tokenizer_file(location: Location, files: Files | None = None) -> Location:
    """Return the tokenizer file: a tokenizer.json, or the one in a folder.

    It is a folder's vocab.json where merges.txt lies beside it and no tokenizer.json does.
    """
    files = files or LocalFiles()
    if location.inside.endswith(".json") or files.kind(location) == "file":
        return location
    return location / (VOCAB if has_vocab_merges(location, files) else "tokenizer.json")


def tokenizer_bytes(location: Location, files: Files | None = None) -> bytes:
    """Return the bytes of a tokenizer.json; refuse a file that is too large or of another kind.

    Those of a vocab.json are built from it and the files beside it, those of a GGUF file from its
    metadata.
    """
    files = files or LocalFiles()
    if location.inside.endswith(GGUF):
        return build_gguf_tokenizer(location, files)
    if location.inside.rpartition("/")[2] == VOCAB:
        return build_vocab_tokenizer(location, files)
    with files.open(location) as ranges:
        if ranges.size > SIZE:
            refuse(location, "S408", f"has {ranges.size} bytes; the limit is {SIZE}")
        data = ranges.read(0, ranges.size)
    refuse_wrong_type(location, data[:512], "a tokenizer.json")
    return data


def _vocab(location: Location, vocab: Any, report: FileProblems) -> dict[str, int]:
    if isinstance(vocab, list):
        pairs: dict[str, int] = {}
        for number, pair in enumerate(vocab):
            if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
                report.at(location, "S460", f"vocab entry {number} is not [token, score]")
            elif pairs.setdefault(pair[0], number) != number:
                report.at(location, "S461", f"the token {show(pair[0])} is in the vocab twice")
        return pairs
    if not isinstance(vocab, dict):
        report.at(location, "S460", f"vocab is {kind(vocab)}; expected an object or a list")
        return {}
    for token, id in vocab.items():
        _in_range(location, token, id, report)
    return vocab


def _added(location: Location, tokens: Any, report: FileProblems) -> dict[str, AddedToken]:
    found: dict[str, AddedToken] = {}
    if tokens is not None and not isinstance(tokens, list):
        report.at(location, "S460", f"added_tokens is {kind(tokens)}; expected a list")
        return found
    for number, token in enumerate(tokens or ()):
        content = token.get("content") if isinstance(token, dict) else None
        if not isinstance(content, str) or not content:
            report.at(location, "S460", f"added token {number} has no content")
            continue
        flags = {flag: token.get(flag, False) for flag in FLAGS}
        if not all(isinstance(value, bool) for value in flags.values()):
            report.at(
                location, "S460", f"added token {show(content)} has a flag that is not a boolean"
            )
        elif content in found:
            report.at(location, "S461", f"the added token {show(content)} occurs twice")
        elif _in_range(location, content, token.get("id"), report):
            found[content] = AddedToken(token["id"], content, **flags)
    return found


def _in_range(location: Location, token: str, id: Any, report: FileProblems) -> bool:
    if type(id) is int and 0 <= id < IDS:
        return True
    report.at(
        location,
        "S461",
        f"the token {show(token)} has the id {show(str(id))}; expected 0 to {IDS - 1}",
    )
    return False


def _check_unique_ids(
    location: Location, vocab: dict[str, int], added: dict[str, AddedToken], report: FileProblems
) -> None:
    owners: dict[int, str] = {}
    for token, id in vocab.items():
        if owners.setdefault(id, token) != token:
            report.at(
                location, "S461", f"{show(owners[id])} and {show(token)} both have the id {id}"
            )
    for token, own in added.items():
        if vocab.get(token, own.id) != own.id:
            report.at(
                location,
                "S461",
                f"{show(token)} has the id {own.id} as an added token, {vocab[token]} in the vocab",
            )
        elif owners.setdefault(own.id, token) != token:
            report.at(
                location,
                "S461",
                f"{show(owners[own.id])} and {show(token)} both have the id {own.id}",
            )

"""A tokenizer that accepts control tokens in an author's text, never in a user's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from composer.generation.tokenizer_process import open_tokenizer

from .normalizer import is_unchanged

# Noncharacters: Unicode keeps them for a program's own use, and no text holds them.
OPEN, CLOSE = "\ufdd0", "\ufdd1"
SOFT_MARK = f"{OPEN}{CLOSE}"
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_FLAGS = ("single_word", "lstrip", "rstrip")


class ForgedToken(ValueError):
    """A user's text became a control token."""

    def __init__(self, token: str) -> None:
        self.token = token
        super().__init__(token)


class GuardedTokenizer:
    """Tokenize an author's and a user's text together, with control tokens from the author only.

    The tokenizer is rebuilt without its added tokens, so text that spells one stays text. `literal`
    replaces those in an author's text by stand-ins that no user can type, and `encode` maps these
    to the ids of the original tokens. So a literal and the value beside it are still one stretch of
    text, split and merged as the original tokenizer would. Added tokens that are mere white space,
    as in Gemma, control nothing and are kept. Neither does the token of a character that has no
    piece in the vocabulary: that character becomes `<unk>`, as usual, or tokens of its bytes.
    A stand-in has the flags of its token, so that it strips white space and is normalized as that
    is; `slot` is the token whose flags a SOFT_MARK has. One that the normalizer would change is
    found as it is written.
    """

    def __init__(self, data: bytes, slot: str | None = None) -> None:
        content = json.loads(data)
        self._normalizer = content.get("normalizer")
        added: list[dict[str, Any]] = content.get("added_tokens") or []
        none = dict.fromkeys(("post_processor", "truncation", "padding"))
        bare = json.dumps(content | none | {"added_tokens": []}).encode()
        self._tokenizer = open_tokenizer(bare)
        unknown = self._tokenizer.token_to_id(_unknown_token(content["model"]))
        byte_fallback = content["model"].get("byte_fallback")
        self._control: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        self._added: dict[str, dict[str, Any]] = {}
        kept = []
        for token in added:
            is_byte = byte_fallback and BYTE.fullmatch(token["content"])
            if token.get("special") and token["id"] != unknown and not is_byte:
                self._control[token["id"]] = token["content"]
            if not token.get("special") and not token["content"].strip(" \t\r\n▁"):
                flags = {flag: token.get(flag, False) for flag in (*_FLAGS, "normalized")}
                kept.append((token["content"], flags))
                self._ids[token["content"]] = token["id"]
            else:
                self._added[token["content"]] = token
        self._tokenizer.add(kept, special=False)
        longest_first = sorted(self._added, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._add_stand_in({SOFT_MARK: {**self._added.get(slot or "", {}), "id": -1}})

    def _add_stand_in(self, marks: Mapping[str, Mapping[str, Any]]) -> None:
        """Make marks stand for tokens."""
        made = []
        for mark, token in marks.items():
            flags = {flag: token.get(flag, False) for flag in _FLAGS}
            normalized = token.get("normalized", False) and all(
                is_unchanged(self._normalizer, each) for each in (mark, token["content"])
            )
            made.append((mark, {**flags, "normalized": normalized}))
            self._ids[mark] = token["id"]
        if made:
            self._tokenizer.add(made, special=True)

    def id_of(self, token: str) -> int:
        """Return the id of a control token; raise KeyError if there is none."""
        return int(self._added[token]["id"])

    def literal(self, text: str) -> str:
        """Return an author's text with stand-ins for its control tokens."""
        marks: dict[str, Mapping[str, Any]] = {}

        def replace(match: re.Match[str]) -> str:
            token = self._added[match[0]]
            if token.get("single_word") and _inside_word(match):
                return match[0]
            mark = f"{OPEN}{token['id']}{CLOSE}"
            marks[mark] = token
            return mark

        replaced = self._pattern.sub(replace, text)
        for mark in marks.keys() & self._ids.keys():
            del marks[mark]
        self._add_stand_in(marks)
        return replaced

    def encode(self, text: str) -> list[int]:
        """Return the ids of literals and values joined, -1 for each SOFT_MARK; raise ForgedToken.

        Tokens are identified by their text: a stand-in's own id may be another's if ids have gaps,
        and one that strips its surroundings includes them.
        """
        found = self._tokenizer.encode(text)
        ids = []
        for id, token in zip(*found, strict=True):
            real_id = self._ids.get(token, self._ids.get(token.strip()))
            if real_id is None and id in self._control:
                raise ForgedToken(self._control[id])
            if real_id is None:
                real_id = id
            ids.append(real_id)
        return ids


def _unknown_token(model: Mapping[str, Any]) -> str:
    """Return the unknown token of a tokenizer.json's model; empty if none."""
    number = model.get("unk_id")  # Unigram's
    if number is not None:
        return str(model["vocab"][number][0])
    return str(model.get("unk_token") or "")


def reserved_positions(text: str) -> Iterable[int]:
    """Yield the positions of lone surrogates and of the noncharacters reserved for stand-ins."""
    return (m.start() for m in re.finditer(f"[\ud800-\udfff{OPEN}{CLOSE}]", text))


def _inside_word(match: re.Match[str]) -> bool:
    around = match.string[max(0, match.start() - 1) : match.start()]
    around += match.string[match.end() : match.end() + 1]
    return any(char.isalnum() or char == "_" for char in around)

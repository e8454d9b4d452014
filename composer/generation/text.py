"""Turn ids into text as they arrive."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from composer.core.errors import ComposerError, Problem
from composer.core.location import Location
from composer.core.native_failures import describe_error, is_failure
from composer.formats import tokenizer_bytes
from composer.generation.tokenizer_process import RawTokenizer, open_tokenizer

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
WINDOW = 24  # ids decoded anew for each id that comes
CONTEXT = 6

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class Tokenizer(Protocol):
    """The part of a tokenizer that writing text takes."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str: ...

    def id_to_token(self, id: int) -> str | None: ...

    def token_to_id(self, token: str) -> int | None: ...


def read_tokenizer(location: Location) -> RawTokenizer:
    """Read a tokenizer.json, in a child process where files are not trusted."""
    data = tokenizer_bytes(location)
    try:
        return open_tokenizer(data)
    except BaseException as error:  # tokenizers raises no narrower class, and panics
        if not is_failure(error):
            raise
        raise ComposerError(
            Problem(
                "R519", f"{location} is not a tokenizer that can be read: {describe_error(error)}"
            )
        ) from error


class Detokenizer:
    """Yield the text of ids as soon as it is final.

    The pieces of `push` and of one `finish` add up to the decoding of all ids at once. Text is held
    back while its last character may still change: a UTF-8 sequence split over tokens, which
    decodes to U+FFFD until it is whole, or a byte token, whose run is read together. Special tokens
    give no text; added tokens that are not special, such as <asr_text>, do.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._emitted = 0  # characters of the window's text that are out
        self._in_bytes = False

    def push(self, token: int) -> str:
        """Add one id and return the text that became final."""
        self._ids.append(token)
        if _BYTE.fullmatch(self._tokenizer.id_to_token(token) or ""):
            self._in_bytes = True
        elif self._in_bytes:  # a token without text, such as a special one, ends no run of bytes
            self._in_bytes = not self._decode([token])
        if self._in_bytes:
            return ""
        text = self._decode(self._ids)
        incomplete = text.endswith(REPLACEMENT)
        complete = text[: len(text) - incomplete]
        piece = complete[self._emitted :]
        self._emitted = max(self._emitted, len(complete))
        if not incomplete and len(self._ids) >= WINDOW:
            self._trim_window()
        return piece

    def finish(self) -> str:
        """Return the text that was held back."""
        text = self._decode(self._ids)
        piece = text[self._emitted :]
        self._emitted = len(text)
        return piece

    def _trim_window(self) -> None:
        """Keep the last ids as context: a decoder may strip the space before its first word."""
        remaining = self._ids[-CONTEXT:]
        text = self._decode(remaining)
        if text.strip() and REPLACEMENT not in text:
            self._ids = remaining
            self._emitted = len(text)

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)

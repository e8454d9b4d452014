"""When a decoder stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from composer.core.errors import ComposerError, Problem

MOST, LONGEST = 16, 200  # texts that end an answer, and the characters of one
FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class StopRules:
    """Stop at one of `ids`, which is not part of the answer, or after `max_tokens` ids."""

    ids: frozenset[int]
    max_tokens: int

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ComposerError(
                Problem(
                    "R510",
                    f"max_tokens is {self.max_tokens}; it must be at least 1",
                )
            )

    def after(self, token: int, count: int) -> FinishReason | None:
        """Return why decoding ends with `token`, the `count`th id, or None to continue."""
        if token in self.ids:
            return "stop"
        return "length" if count >= self.max_tokens else None


class StopTexts:
    """End a text before the first of some texts; what may be the beginning of one waits."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._waiting = ""
        self.reached = False

    def push(self, piece: str) -> str:
        """Take the next piece and return what is certain; nothing follows once it is `reached`."""
        text = self._waiting + piece
        ends = [at for at in (text.find(each) for each in self._texts) if at >= 0]
        if ends:
            self.reached, self._waiting = True, ""
            return text[: min(ends)]
        start = len(text) - self._overlap(text)
        self._waiting = text[start:]
        return text[:start]

    def finish(self) -> str:
        """Return what waited, now that nothing follows."""
        text, self._waiting = self._waiting, ""
        return text

    def _overlap(self, text: str) -> int:
        """Return the length of the longest end of a text that begins one of the stop texts."""
        longest = 0
        for stop in self._texts:
            for length in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:length]):
                    longest = length
                    break
        return longest

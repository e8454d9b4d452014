"""When a decoder stops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from composer.core.errors import ComposerError, Problem

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Stop:
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

"""Pass on the text of a run while it runs."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Self

from composer.component import Token

if TYPE_CHECKING:
    from composer.run import Result


class Stream:
    """The text of a run as it comes; `result` is there once it has ended.

    Left before its end, it is closed by `close` or by a `with` block, and the run with it.
    """

    def __init__(self, run: Generator[Token, None, Result]) -> None:
        self._run = run
        self.result: Result | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        while self.result is None:
            try:
                token = next(self._run)
            except StopIteration as end:
                # A run that was closed has no result.
                self.result = end.value
                break
            if token.text:
                return token.text
        raise StopIteration

    def close(self) -> None:
        """Give the run up."""
        self._run.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

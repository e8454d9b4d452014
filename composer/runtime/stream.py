"""Pass on the text of a run while it runs."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Self

from composer.core.component import Token

if TYPE_CHECKING:
    from composer.runtime.result import Result


class RunStream:
    """The text of a run as it comes; `result` is there once it has ended.

    `tokens` counts what was decoded so far, with or without text; `token` is the last one.
    `stop` ends the text early, and the run goes on with what there is of it. Left before its end,
    it is closed by `close` or by a `with` block, and the run with it.
    """

    def __init__(self, run: Generator[Token, Any, Result]) -> None:
        self._run = run
        self._begun = False
        self._enough = False
        self.tokens = 0
        self.token: Token | None = None
        self.result: Result | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        while self.result is None:
            try:
                # A generator that has not begun takes nothing.
                token = self._run.send(self._enough if self._begun else None)
                self._begun = True
                self.tokens += 1
            except StopIteration as end:
                # A run that was closed has no result.
                self.result = end.value
                break
            self.token = token
            if token.text:
                return token.text
        raise StopIteration

    def stop(self) -> None:
        """Let the decoder end after its next token; a component that cannot goes on."""
        self._enough = True

    def close(self) -> None:
        """Give the run up."""
        self._run.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""Pass on the text of a run while it runs."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from composer.component import Token

if TYPE_CHECKING:
    from composer.run import Result


class Stream:
    """The text of a run as it comes; `result` is there once it has ended."""

    def __init__(self, run: Generator[Token, None, Result]) -> None:
        self._run = run
        self.result: Result | None = None

    def __iter__(self) -> Iterator[str]:
        self.result = yield from self._texts()

    def _texts(self) -> Generator[str, None, Result]:
        while True:
            try:
                token = next(self._run)
            except StopIteration as end:
                result: Result = end.value
                return result
            if token.text:
                yield token.text

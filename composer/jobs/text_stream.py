"""Run a task, its text as it becomes certain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from composer.graph.graph import Graph
from composer.jobs.bundle import Options
from composer.jobs.partial_text import PartialText
from composer.runtime.bundle import Bundle
from composer.runtime.result import Result


class TextStream:
    """A task that runs: pieces of its text, and at the end the result.

    The pieces are together the output `text`, but where a repair changed what was there already:
    then `repaired` is true, and they are what was certain before. Reading them raises ComposerError
    where the task cannot be run.
    """

    def __init__(
        self,
        bundle: Bundle,
        graph: Graph,
        text: str,
        inputs: Mapping[str, Any],
        options: Options,
        taps: Iterable[str] = (),
    ) -> None:
        self._text = text
        self._partial = PartialText(bundle.checked, graph, text, inputs)
        self._stream = bundle.stream(task=graph.task, options=options, taps=taps, **inputs)

    @property
    def result(self) -> Result | None:
        """Return the result, once the text has ended."""
        return self._stream.result

    @property
    def repaired(self) -> bool:
        """Return whether the text is not what its pieces are together."""
        result = self._stream.result
        return result is not None and result.outputs[self._text] != self._partial.sent

    @property
    def tokens(self) -> int:
        """Return how many tokens were decoded so far."""
        return self._stream.tokens

    def __iter__(self) -> Iterator[str]:
        for _ in self._stream:
            assert self._stream.token is not None
            if new := self._partial.add(self._stream.token):
                yield new
        result = self._stream.result
        if result and (rest := self._partial.finish(str(result.outputs[self._text]))):
            yield rest

    def stop(self) -> None:
        """End the text after the next token, from any thread."""
        self._stream.stop()

    def close(self) -> None:
        """Give the run up."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

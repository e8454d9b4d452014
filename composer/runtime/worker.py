"""Keep each thread-bound backend on a thread of its own, and call others where they stand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from composer.core.backend import Backend

Answer = TypeVar("Answer")


class Worker:
    """Where the calls of one backend happen."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        name = f"composer-{backend.name}"
        self._pool = ThreadPoolExecutor(1, name) if backend.threaded else None
        self._ended = threading.Event()

    def call(self, function: Callable[..., Answer], /, *args: Any, **kwargs: Any) -> Answer:
        """Call the function on the backend's thread and return its answer."""
        if self._pool is None:
            return function(*args, **kwargs)
        return self._pool.submit(function, *args, **kwargs).result()

    def iterate(self, stream: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Pass on what a generator yields and is sent, stepping it on the backend's thread."""
        sent = None
        try:
            while True:
                more, item = self.call(_next, stream, sent)
                if not more:
                    return item
                sent = yield item
        finally:
            if not self._ended.is_set():
                self.call(stream.close)

    def drain(self, stream: Generator[Any, None, Answer]) -> Answer:
        """Run a generator to its end on the backend's thread and return what it returned.

        It is left at its next step when the worker is closed meanwhile.
        """
        answer: Answer = self.call(self._drain, stream)
        return answer

    def _drain(self, stream: Generator[Any, None, Answer]) -> Answer:
        while not self._ended.is_set():
            more, item = _next(stream)
            if not more:
                answer: Answer = item
                return answer
        stream.close()
        raise RuntimeError("the bundle was closed while it ran")

    def close(self) -> None:
        """End the thread, after the step that it is at."""
        self._ended.set()
        if self._pool is not None:
            self._pool.shutdown()


def _next(stream: Generator[Any, Any, Any], sent: Any = None) -> tuple[bool, Any]:
    # StopIteration cannot cross a future, so the end comes back as a value.
    try:
        return True, stream.send(sent)
    except StopIteration as end:
        return False, end.value

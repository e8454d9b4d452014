"""Run the calls of a backend on its own thread if it needs one, others on the caller's."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from composer.core.backend import Backend
from composer.core.errors import ComposerError, Problem

Answer = TypeVar("Answer")


class BackendWorker:
    """Where the calls of one backend happen."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        name = f"composer-{backend.name}"
        self._pool = ThreadPoolExecutor(1, name) if backend.threaded else None
        self._ended = threading.Event()
        self._process = os.getpid()

    def call(self, function: Callable[..., Answer], /, *args: Any, **kwargs: Any) -> Answer:
        """Call the function on the backend's thread and return its answer.

        Raise ComposerError if the worker is closed, or belongs to the process that was forked.
        """
        self._require_open()
        if self._pool is None:
            return function(*args, **kwargs)
        try:
            future = self._pool.submit(function, *args, **kwargs)
        except RuntimeError:
            self._require_open()  # it may have been closed just now
            raise
        return future.result()

    def _require_open(self) -> None:
        """Raise ComposerError where calls would fail, or wait forever for a thread that is gone."""
        require_same_process(self._process)
        if self._ended.is_set():
            raise ComposerError(_closed())

    def iterate(self, stream: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Step a generator on the backend's thread, passing on what it yields and is sent."""
        sent = None
        try:
            while True:
                more, item = self.call(_next, stream, sent)
                if not more:
                    return item
                sent = yield item
        finally:
            if not self._ended.is_set() and os.getpid() == self._process:
                if self._pool and _is_interrupted():
                    self._pool.submit(stream.close)
                else:
                    self.call(stream.close)

    def drain(self, stream: Generator[Any, None, Answer]) -> Answer:
        """Run a generator to its end on the backend's thread and return what it returned.

        Each step is a call of its own, so that other runs go on beside it, and none follows once
        the worker is closed.
        """
        steps = self.iterate(stream)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                answer: Answer = end.value
                return answer

    def close(self) -> None:
        """End the thread after its current step, which an interrupt does not wait for."""
        self._ended.set()
        if self._pool is not None:
            self._pool.shutdown(wait=not _is_interrupted())


def require_same_process(process: int) -> None:
    """Raise ComposerError in a fork of the process that loaded a bundle."""
    if os.getpid() != process:
        raise ComposerError(
            Problem(
                "R509",
                f"the bundle was loaded by process {process}, and this is a fork of it",
                hint="threads do not survive a fork: load the bundle in each process, or start "
                "processes by spawn",
            )
        )


def _is_interrupted() -> bool:
    """Return whether this is called on the way of an interrupt."""
    return isinstance(sys.exception(), KeyboardInterrupt)


def _closed() -> Problem:
    return Problem("R508", "the bundle was closed while it ran", hint="load it again")


def _next(stream: Generator[Any, Any, Any], sent: Any = None) -> tuple[bool, Any]:
    # StopIteration cannot cross a future, so the end comes back as a value.
    try:
        return True, stream.send(sent)
    except StopIteration as end:
        return False, end.value

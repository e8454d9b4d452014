"""Run native code beside the thread that sees an interrupt."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

from .library import run_options

Answer = TypeVar("Answer")


class GraphTimeout(Exception):
    """A graph was stopped."""


def run_interruptibly(run: Callable[[Any], Answer], seconds: float | None = None) -> Answer:
    """Return what a run gives, called with its options; raise GraphTimeout where it is too late.

    An interrupt waits for no operator: Python sees it beside native code, not within. The run then
    goes on to the end of its operator, and must hold the memory that it writes.
    """
    options = run_options()
    pool = ThreadPoolExecutor(1)
    answer = pool.submit(run, options)
    pool.shutdown(wait=False)
    try:
        wait([answer], seconds)
    finally:
        options.terminate = not answer.done()
    try:
        return answer.result()
    except Exception as error:
        if options.terminate:
            raise GraphTimeout from error
        raise

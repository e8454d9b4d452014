"""Run calls in threads that do not delay an interrupt."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def run_parallel(call: Callable[[T], None], items: Iterable[T], most: int) -> None:
    """Call for each item, `most` at a time; raise an error after the others finished.

    An executor's threads would delay the end of the process for as long as a server is
    silent; daemon threads do not.
    """
    remaining, errors = deque(items), list[BaseException]()

    def work() -> None:
        while True:
            try:
                item = remaining.popleft()
            except IndexError:
                return
            try:
                call(item)
            except BaseException as error:
                errors.append(error)
                remaining.clear()

    count = min(most, len(remaining))
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        remaining.clear()
        raise
    if errors:
        raise errors[0]

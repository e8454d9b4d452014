"""Work in threads that an interrupt does not wait for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def run_parallel(call: Callable[[T], None], items: Iterable[T], most: int) -> None:
    """Call for each item, `most` at a time; raise what a call raises once the others are through.

    The threads of an executor would hold up the end of the process for as long as a server is
    silent; these end with it.
    """
    left, caught = deque(items), list[BaseException]()

    def work() -> None:
        while True:
            try:
                item = left.popleft()
            except IndexError:
                return
            try:
                call(item)
            except BaseException as error:
                caught.append(error)
                left.clear()

    count = min(most, len(left))
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        left.clear()
        raise
    if caught:
        raise caught[0]

"""Run clips as the child process of `composer.corpus.worker_process`."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from composer.core.child_process import end_with_parent
from composer.core.errors import ComposerError, Problem
from composer.core.machine import refusal_of_system
from composer.corpus.clip import CorpusClip

CRASHED = 1


def main() -> None:
    """Load the task that comes first, then run each clip, until there are no more messages."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    os.dup2(2, 1)  # what libraries print is no result
    connection, threads = Connection(int(sys.argv[1])), int(sys.argv[2])
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with lock:
            connection.send_bytes(json.dumps(message).encode())

    def refuse(problems: Iterable[Problem]) -> NoReturn:
        send({"problems": [problem.packed() for problem in problems]})
        os._exit(0)

    try:
        end_with_parent()
        task = pickle.loads(connection.recv_bytes())
        pool = started_pool(task.in_flight)
        run = task.load(threads)
    except EOFError:  # the parent ended meanwhile
        os._exit(0)
    except ComposerError as error:
        refuse(error.problems)
    except (OSError, MemoryError, RuntimeError) as error:
        refuse([refusal_of_system(error)])
    send({})

    def answer(number: int, clip: CorpusClip) -> None:
        try:
            send({"number": number, "row": asdict(run(clip))})
        except BaseException:  # a fault of this program: the parent sees a crash
            sys.excepthook(*sys.exc_info())
            os._exit(CRASHED)

    serve(connection, pool, answer)


def started_pool(count: int) -> ThreadPoolExecutor:
    """Return a pool whose threads run already, so that the system cannot refuse one later."""
    pool = ThreadPoolExecutor(count, "composer-clip")
    all_run = threading.Barrier(count)
    for future in [pool.submit(all_run.wait) for _ in range(count)]:
        future.result()
    return pool


def serve(connection: Connection, pool: ThreadPoolExecutor, answer: Any) -> None:
    """Start each clip that comes; leave at once, and what runs, when the parent did."""
    try:
        while True:
            pool.submit(answer, *connection.recv())
    except (EOFError, OSError):
        os._exit(0)


if __name__ == "__main__":
    main()

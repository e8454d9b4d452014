"""A child process that can be ended at any time, and answers one question after another."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from composer.core.isolation import MEMORY
from composer.core.messages import Arrays, pack_message, unpack_message
from composer.core.private_folder import PrivateFolder

PACE = 20_000_000  # bytes that a child loads in a second at least
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # who asks no network needs none
_children: weakref.WeakSet[Child] = weakref.WeakSet()
TICK = 0.2  # seconds after which an interrupt is seen at the latest
GRACE = 5.0  # seconds that a child takes to end after its pipe did
_PIECE = 1 << 20
FAILED = 1  # the status of a child that raised
ANYTHING = 2**62  # bytes that a child takes: the parent decides


class ChildTimeout(Exception):
    """The child did not answer in time, and is no more."""


class ChildExited(Exception):
    """The child ended: how, and the status of its process."""

    def __init__(self, how: str, status: int) -> None:
        super().__init__(how)
        self.status = status


class Child:
    """A module that runs as a process of its own, with a limit of memory and of processor time."""

    def __init__(self, module: str, memory: int, seconds: float | None = None) -> None:
        self.most = memory
        limits = [str(memory)]
        if seconds is not None:
            limits.append(str(seconds))
        folder = PrivateFolder()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_child_environment() | folder.environment,
            bufsize=0,
        )
        _children.add(self)
        self.end = weakref.finalize(self, _end, self.process, folder)

    def ask(
        self, words: Mapping[str, Any], arrays: Arrays, seconds: float
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the answer; raise ChildTimeout or ChildExited, after which the child is no more.

        Whatever interrupts the wait ends the child, too.
        """
        until = time.monotonic() + seconds
        try:
            for piece in pack_message(words, arrays):
                self._write(memoryview(piece), until)
            return unpack_message(lambda count: self._read(count, until), self.most)
        except (OSError, EOFError):
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)  # its own status
            status = self._kill()
            raise ChildExited(_how_ended(status), status) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ChildExited(str(error), self._kill()) from None
        except BaseException:
            self.end()
            raise

    def _kill(self) -> int:
        self.process.kill()
        return self.process.wait()

    def _write(self, data: memoryview, until: float) -> None:
        assert self.process.stdin
        pipe = self.process.stdin.fileno()
        os.set_blocking(pipe, False)
        while data:
            _require_time(until)
            if select.select([], [pipe], [], TICK)[1]:
                data = data[os.write(pipe, data[:_PIECE]) :]

    def _read(self, count: int, until: float) -> bytes:
        assert self.process.stdout
        pipe = self.process.stdout.fileno()
        found = bytearray()
        while len(found) < count:
            _require_time(until)
            if select.select([pipe], [], [], TICK)[0]:
                piece = os.read(pipe, min(_PIECE, count - len(found)))
                if not piece:
                    raise EOFError
                found += piece
        return bytes(found)


Answer = Callable[
    [dict[str, Any], dict[str, np.ndarray]], tuple[dict[str, Any], dict[str, np.ndarray]]
]


def answer_questions(answer: Answer) -> None:
    """Be the child: answer what comes on stdin, within the limits that were given, until it ends.

    What `answer` raises ends the process, whatever its threads do.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print is no answer
    memory, *seconds = sys.argv[1:]
    _limit_process(int(memory), *map(float, seconds))
    end_with_parent()
    try:
        while True:
            for piece in pack_message(*answer(*unpack_message(_read_input, ANYTHING))):
                data = memoryview(piece)
                while data:
                    data = data[out.write(data) :]
    finally:
        os._exit(FAILED)


def end_with_parent() -> None:
    """End this process once its parent did, in the midst of a computation, too."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def _read_input(count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        piece = os.read(0, count - len(found))
        if not piece:
            os._exit(0)  # the parent is done
        found += piece
    return bytes(found)


def children() -> list[Child]:
    """Return the children of this process."""
    return list(_children)


def end_children() -> None:
    """End all children: who waits for one gets ChildExited."""
    for child in children():
        child.process.kill()


def _limit_process(memory: int, seconds: float | None = None) -> None:
    """Bound this process; what the system does not bound, the parent's clock does."""
    import resource

    wanted = {resource.RLIMIT_CORE: 0}
    if seconds is not None:
        wanted[resource.RLIMIT_CPU] = int(seconds) * (os.cpu_count() or 1)
    if sys.platform == "linux":
        # Mapped weights and reserved addresses do not count here, as they do for RLIMIT_AS.
        wanted[resource.RLIMIT_DATA] = memory
    for kind, most in wanted.items():
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, hard))


def _require_time(until: float) -> None:
    if time.monotonic() > until:
        raise ChildTimeout


def _child_environment() -> dict[str, str]:
    """Return the environment of a child: this process's own, without tokens and network."""
    own = {**os.environ, "HF_HUB_OFFLINE": "1"}
    for name in TOKENS:
        own.pop(name, None)
    return own


def load_limits(nbytes: int, seconds: float) -> tuple[int, float]:
    """Return the limits of a child that loads so many bytes: memory in bytes, and time in seconds.

    `seconds` are allowed beside those that reading takes.
    """
    return MEMORY + 3 * nbytes, seconds + nbytes / PACE


def _how_ended(status: int) -> str:
    """Return what ended a child, by the status of its process."""
    return f"signal {-status}" if status < 0 else f"status {status}"


def _end(process: subprocess.Popen[bytes], folder: PrivateFolder) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
    folder.remove()

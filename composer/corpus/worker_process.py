"""A worker that is a process of its own, so that a crash or a hang ends nothing else."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from composer.core.errors import Problem
from composer.core.machine import processor_count
from composer.core.private_folder import PrivateFolder
from composer.corpus.clip import CorpusClip
from composer.corpus.row import Row
from composer.corpus.worker import (
    LOADING,
    THREADS,
    ClipTimeout,
    LoadFailed,
    Task,
    WorkerEnded,
)

MODULE = "composer.corpus.worker_child"
TICK = 0.5  # seconds after which a clip that hangs is seen at the latest
GRACE = 10.0  # seconds that a process takes to end once its messages did
OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)  # nobody's own fault


@dataclass
class _Running:
    future: Future[Row]
    began: float


class WorkerProcess:
    """A child that runs a task's clips, several at once.

    A clip that takes longer than `seconds` ends it. It ends by itself once this process did.
    """

    def __init__(self, task: Task, threads: int, seconds: float) -> None:
        self.seconds = seconds
        self.ready: Future[None] = Future()
        self._running: dict[int, _Running] = {}
        self._sent, self._ended = 0, False
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._task = pickle.dumps(task)
        self._folder = PrivateFolder()
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE, str(theirs.fileno()), str(threads)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={
                    **dict.fromkeys(THREADS, str(threads)),
                    **os.environ,
                    **self._folder.environment,
                },
                process_group=0,  # an interrupt of the terminal is this process's alone
            )
        self._connection = Connection(ours.detach())
        self._began = time.monotonic()
        threading.Thread(target=self._listen, daemon=True).start()

    def submit(self, clip: CorpusClip) -> Future[Row]:
        """Run a clip beside those that run."""
        future: Future[Row] = Future()
        with self._lock:
            if self._ended:
                future.set_exception(WorkerEnded("before it was given the clip", False))
                return future
            self._sent += 1
            number = self._sent
            self._running[number] = _Running(future, time.monotonic())
        # A child that reads nothing stalls this, and no other thread, until it is late.
        with self._sending, suppress(OSError):  # it ended just now, which `_listen` sees
            self._connection.send((number, clip))
        return future

    def end(self) -> None:
        """End the process at once, and what it runs."""
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)
        self._folder.remove()

    def _listen(self) -> None:
        """Pass on what the child sends, until it ends."""
        late: list[Future[Any]] = []
        with suppress(OSError, EOFError, ValueError):
            self._connection.send_bytes(self._task)
            while not late:
                if self._connection.poll(TICK):
                    self._receive(json.loads(self._connection.recv_bytes()))
                late = self._late()
        if late:
            self.process.kill()
        self._fail(self._wait(), late)

    def _receive(self, message: dict[str, Any]) -> None:
        if "problems" in message:
            problems = tuple(Problem.unpacked(entry) for entry in message["problems"])
            self.ready.set_exception(LoadFailed(problems))
        elif "row" in message:
            with self._lock:
                running = self._running.pop(message["number"])
            running.future.set_result(Row(**message["row"]))
        else:
            self.ready.set_result(None)

    def _late(self) -> list[Future[Any]]:
        now = time.monotonic()
        if not self.ready.done() and now - self._began > LOADING:
            return [self.ready]
        with self._lock:
            running = list(self._running.values())
        return [each.future for each in running if now - each.began > self.seconds]

    def _wait(self) -> int:
        """Return the status of the process, which is about to end, or else is ended."""
        try:
            return self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _fail(self, status: int, late: list[Future[Any]]) -> None:
        """Let everybody know who still waits, of what took too long first."""
        how = f"signal {-status}" if status < 0 else f"status {status}"
        ended, timeout = WorkerEnded(how, -status not in OUTSIDE), ClipTimeout(self.seconds)
        with self._lock:
            self._ended = True
            futures: list[Future[Any]] = [each.future for each in self._running.values()]
            self._running.clear()
        with self._sending:
            self._connection.close()
        for future in late:
            future.set_exception(timeout)
        for future in (self.ready, *futures):
            if not future.done():
                future.set_exception(WorkerEnded(timeout.how, False) if late else ended)


@dataclass
class LocalWorkers:
    """Workers on this machine, which share its processors."""

    task: Task
    count: int
    seconds: float

    def start(self, number: int) -> WorkerProcess:
        """Start a process."""
        return WorkerProcess(self.task, max(1, processor_count() // self.count), self.seconds)

    def close(self) -> None:
        """Do nothing: there is no more than processes."""

"""Control a process that loads a bundle and runs it on request."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from composer.benchmarking.benchmark_child import BenchmarkCase
from composer.core.errors import ComposerError, Problem
from composer.core.private_folder import PrivateFolder

COMMAND = ("-P", "-m", "composer.benchmarking.benchmark_child")


@dataclass(frozen=True)
class RunTiming:
    """One run: seconds in all, to its first text and by node, and what came out.

    `first` is None where nothing streams, and `rate`, in tokens a second, below two texts.
    """

    seconds: float
    first: float | None
    rate: float | None
    nodes: Mapping[str, float]
    tokens: int
    finish: str | None
    outputs: Mapping[str, str]
    peak: int


@dataclass(frozen=True)
class StartTiming:
    """A process from its start to the first output of its first run, in seconds."""

    python: float
    check: float
    load: float
    components: Mapping[str, float]
    loaded: int
    run: RunTiming

    @property
    def first(self) -> float:
        """Return the seconds of the first run to its first text, or to its end without one."""
        if self.run.first is None:
            return self.run.seconds
        return self.run.first

    @property
    def seconds(self) -> float:
        """Return the seconds from nothing to the first output."""
        return self.python + self.check + self.load + self.first


class BundleProcess:
    """A child process with one bundle in it; the first run is done when it is made."""

    def __init__(self, case: BenchmarkCase) -> None:
        self.case = case
        began = time.perf_counter()
        self._folder = PrivateFolder()
        self._child = subprocess.Popen(
            [sys.executable, *COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **self._folder.environment},
        )
        try:
            self._receive()
            python = time.perf_counter() - began
            startup = self._request(pickle.dumps(case))
            self.start = StartTiming(
                python,
                startup["check"],
                startup["load"],
                startup["components"],
                startup["peak"],
                self.run(),
            )
        except BaseException:
            self.close()
            raise

    def run(self) -> RunTiming:
        """Run the bundle once more; raise ComposerError where that fails."""
        return RunTiming(**self._request(b"run\n"))

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.wait()
        self._folder.remove()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe
            try:
                pipe.close()
            except BrokenPipeError:
                continue

    def _request(self, request: bytes) -> dict[str, Any]:
        assert self._child.stdin
        try:
            self._child.stdin.write(request)
            self._child.stdin.flush()
        except BrokenPipeError:
            self._ended()
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._child.stdout
        line = self._child.stdout.readline()
        if not line:
            self._ended()
        answer: dict[str, Any] = json.loads(line)
        if "problems" in answer:
            raise ComposerError(Problem.unpacked(entry) for entry in answer["problems"])
        return answer

    def _ended(self) -> NoReturn:
        status = self._child.wait()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        message = f"the process that measures {self.case.bundle.name} ended early ({how})"
        hint = "too little memory ends one with signal 9; a smaller variant needs less"
        raise ComposerError(Problem("R586", message, hint=hint))

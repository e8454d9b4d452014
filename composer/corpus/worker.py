"""What runs the clips of a corpus: a worker, which loads a task once, and how it may end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from composer.core.errors import Problem
from composer.corpus.clip import CorpusClip
from composer.corpus.row import Row

RunClip = Callable[[CorpusClip], Row]
LOADING = 3600.0  # seconds that a worker may take to start and to load
# Libraries that use threads of their own read how many when they are imported.
THREADS = (
    "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS VECLIB_MAXIMUM_THREADS RAYON_NUM_THREADS"
).split()


class Task(Protocol):
    """What workers do with clips. It is pickled, and loaded in each worker.

    `in_flight` clips are run at once, in as many threads.
    """

    @property
    def in_flight(self) -> int: ...

    def load(self, threads: int) -> RunClip:
        """Load what it takes, and return what makes a clip a row, whatever is wrong with it.

        Of the machine's processors `threads` are the worker's. Raise ComposerError.
        """


class Worker(Protocol):
    """A worker that somebody started: its futures raise how it ended."""

    @property
    def ready(self) -> Future[None]:
        """Return what is done once the task is loaded; it raises LoadFailed, too."""

    def submit(self, clip: CorpusClip) -> Future[Row]:
        """Run a clip beside those that run; the future raises WorkerEnded or ClipTimeout."""

    def end(self) -> None:
        """End the worker at once."""


class Workers(Protocol):
    """Where so many workers are started: on this machine, or on others."""

    @property
    def count(self) -> int: ...

    def start(self, number: int) -> Worker:
        """Start the worker of a number, which counts from 0, for the first time or once more."""

    def close(self) -> None:
        """Let go of what all workers need."""


class WorkerEnded(Exception):
    """The worker ended: how, and whether it crashed, which a clip may have caused."""

    def __init__(self, how: str, is_crash: bool) -> None:
        super().__init__(how, is_crash)
        self.how, self.is_crash = how, is_crash


class ClipTimeout(WorkerEnded):
    """The worker was ended because a clip took longer than so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"a clip took longer than {seconds:g} s", True)
        self.seconds = seconds

    def __reduce__(self) -> tuple[type[ClipTimeout], tuple[float]]:
        return ClipTimeout, (self.seconds,)


class LoadFailed(Exception):
    """The task cannot be loaded, for these reasons."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

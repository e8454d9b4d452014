"""Run clips on several workers, each clip once whatever happens to them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, Queue
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.corpus.clip import CorpusClip
from composer.corpus.row import Row, failed_row
from composer.corpus.worker import (
    LOADING,
    ClipTimeout,
    LoadFailed,
    Worker,
    WorkerEnded,
    Workers,
)

CRASHES = 2  # of workers in a row, or of one clip's: the first may be another clip's fault
KILLS = 3  # of a worker that runs one clip alone, after which it is taken for the clip's fault
STARTS = 20  # that are ended from outside one after another before a worker has loaded

Load = Callable[[CorpusClip], CorpusClip]
OnNote = Callable[[str], None]


@dataclass
class _Attempts:
    """How often a worker ended while it ran a clip."""

    crashes: int = 0
    kills: int = 0


@dataclass
class _Slot:
    """The place of a worker, and what is in flight there."""

    number: int
    worker: Worker
    is_ready: bool = False
    ends: int = 0  # one after another, before the worker was ready
    crashes: int = 0
    running: dict[str, CorpusClip] = field(default_factory=dict)
    runs_suspect: bool = False
    ended: WorkerEnded | None = None  # how the worker did; what it ran comes back one by one
    lost: int = 0  # clips of a worker that ended


@dataclass
class Dispatcher:
    """Gives clips to workers, and again to others where a worker ended.

    Each worker has `in_flight` clips. `load` is called for each clip before it is sent, and may
    raise ComposerError. After a worker ended each clip that it ran is a suspect: it is run again,
    alone, by the next worker that has nothing else. One whose worker crashes then, or that takes
    too long, fails. `on_note` is called with each end of a worker.
    """

    workers: Workers
    in_flight: int
    load: Load
    on_note: OnNote
    restarts: int = 0
    _events: Queue[tuple[_Slot, str | None, Future[Any]]] = field(default_factory=Queue)
    _slots: list[_Slot] = field(default_factory=list)
    _attempts: dict[str, _Attempts] = field(default_factory=dict)
    _suspects: deque[CorpusClip] = field(default_factory=deque)
    _done: deque[Row] = field(default_factory=deque)
    _given_all: bool = False

    def run(self, clips: Iterable[CorpusClip]) -> Iterator[Row | None]:
        """Yield None once the first worker is ready, then each clip's row, as they are done.

        Raise ComposerError where the task cannot be loaded, or R579 where no worker stays.
        """
        waiting = iter(clips)
        is_first = True
        try:
            for number in range(self.workers.count):
                slot = _Slot(number, self.workers.start(number))
                self._slots.append(slot)
                self._expect(slot, None, slot.worker.ready)
            while True:
                for slot in self._slots:
                    self._fill(slot, waiting)
                yield from self._finished()
                is_idle = not (self._suspects or any(slot.running for slot in self._slots))
                if self._given_all and is_idle:
                    return
                self._receive()
                if is_first and any(slot.is_ready for slot in self._slots):
                    is_first = False
                    yield None
        finally:
            for slot in self._slots:
                slot.worker.end()

    def _finished(self) -> Iterator[Row]:
        while self._done:
            yield self._done.popleft()

    def _expect(self, slot: _Slot, name: str | None, future: Future[Any]) -> None:
        event = partial(_put, self._events, slot, name)
        future.add_done_callback(event)

    def _fill(self, slot: _Slot, waiting: Iterator[CorpusClip]) -> None:
        """Give a worker as many clips as it runs at once; a suspect alone."""
        if slot.ended or not slot.is_ready:
            return
        if not slot.running:
            while self._suspects and not slot.running:
                self._submit(slot, self._suspects.popleft())
            slot.runs_suspect = bool(slot.running)
        while not slot.runs_suspect and len(slot.running) < self.in_flight:
            clip = next(waiting, None)
            if clip is None:
                self._given_all = True
                return
            self._submit(slot, clip)

    def _submit(self, slot: _Slot, clip: CorpusClip) -> None:
        try:
            loaded = self.load(clip)
        except ComposerError as error:
            self._done.append(failed_row(clip.id, error))
            return
        slot.running[clip.id] = clip
        self._expect(slot, clip.id, slot.worker.submit(loaded))

    def _receive(self) -> None:
        """Wait for one future of a worker, and do what follows."""
        try:
            slot, name, future = self._events.get(timeout=LOADING)
        except Empty:
            if any(slot.is_ready for slot in self._slots):
                return
            raise _no_worker(f"none has started in {LOADING:.0f} s") from None
        error = future.exception()
        if isinstance(error, LoadFailed):
            raise ComposerError(error.problems)
        if error is not None and not isinstance(error, WorkerEnded):
            raise error
        if error is not None:
            slot.ended = slot.ended or error
        if name is not None:
            self._receive_clip(slot, slot.running.pop(name), future)
        elif error is None:
            slot.is_ready, slot.ends, slot.crashes = True, 0, 0
        if slot.ended and not slot.running:
            self._restart(slot, slot.ended)

    def _receive_clip(self, slot: _Slot, clip: CorpusClip, future: Future[Row]) -> None:
        error = future.exception()
        if isinstance(error, WorkerEnded):
            slot.lost += 1
            self._retry(slot, clip, error)
        else:
            self._attempts.pop(clip.id, None)
            self._done.append(future.result())

    def _restart(self, slot: _Slot, error: WorkerEnded) -> None:
        """Start another worker in the place of one that ended."""
        how = f"worker {slot.number + 1} ended ({error.how})"
        if not slot.is_ready:
            slot.ends += 1
            slot.crashes += error.is_crash
            if slot.crashes == CRASHES or slot.ends == STARTS:
                raise _no_worker(f"{how} while it loaded the bundle")
        if slot.lost:
            clips = "1 clip" if slot.lost == 1 else f"{slot.lost} clips"
            how += f" with {clips} in flight, each to be run again by itself"
        self.on_note(f"{how}; another one starts")
        self.restarts += 1
        slot.worker.end()
        slot.worker = self.workers.start(slot.number)
        slot.is_ready, slot.ended, slot.lost = False, None, 0
        self._expect(slot, None, slot.worker.ready)

    def _retry(self, slot: _Slot, clip: CorpusClip, error: WorkerEnded) -> None:
        """Take a clip for a suspect, or for failed where it was one."""
        attempts = self._attempts.setdefault(clip.id, _Attempts())
        if error.is_crash:
            attempts.crashes += 1
        elif slot.runs_suspect:
            attempts.kills += 1
        if attempts.crashes < CRASHES and attempts.kills < KILLS:
            self._suspects.append(clip)
            return
        self._done.append(failed_row(clip.id, ComposerError(_ended_by(error))))


def _put(queue: Queue[Any], slot: _Slot, name: str | None, done: Future[Any]) -> None:
    queue.put((slot, name, done))


def _ended_by(error: WorkerEnded) -> Problem:
    """Return the problem of a clip that ended its worker each time."""
    if isinstance(error, ClipTimeout):
        message = f"the clip took longer than {error.seconds:g} s, by itself, too"
        return Problem("R587", message, hint="allow more by --timeout, or cut the clip")
    message = f"the worker that ran the clip ended ({error.how}), by itself, too"
    hint = "signal 9 may be too little memory; others are a crash of a library"
    return Problem("R569", message, hint=hint)


def _no_worker(why: str) -> ComposerError:
    hint = "signal 9 may be too little memory: use fewer workers, or a smaller variant"
    return ComposerError(Problem("R579", f"no worker can run the clips: {why}", hint=hint))

"""Run jobs on a few threads, with a bounded queue before them.

Whatever runs jobs in another way, such as a scheduler of many sequences, needs only `submit`.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

Work = Callable[["Job"], Any]
PIECE, DONE, FAILED = "piece", "done", "failed"
LEAST_WAIT, MOST_WAIT = 1, 60  # seconds of Retry-After
SHARE = 0.2  # of the last run in the mean of their times


class QueueFull(Exception):
    """The queue is full; after `seconds` there may be room."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class JobStopped(Exception):
    """Nobody wants the result any more."""


class Job:
    """A run that somebody waits for: its pieces as they come, then its result.

    The thread that runs it calls `emit` and `on_stop`; everything else is for the event loop.
    """

    def __init__(self, work: Work, close: Callable[[], None]) -> None:
        self._work = work
        self._close = close
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._stopped = threading.Event()
        self._stop: Callable[[], None] | None = None
        self.submitted = time.monotonic()
        self.waited = 0.0

    async def pieces(self) -> AsyncIterator[Any]:
        """Yield what is emitted; the result is then in `result`. Raise what the run raises."""
        while True:
            kind, value = await self._events.get()
            if kind == FAILED:
                raise value
            if kind == DONE:
                self.result = value
                return
            yield value

    @property
    def age(self) -> float:
        """Return for how many seconds it has been there."""
        return time.monotonic() - self.submitted

    async def finish(self) -> Any:
        """Return the result; pieces are passed over."""
        async for _ in self.pieces():
            pass
        return self.result

    def cancel(self) -> None:
        """Let the run end as soon as it can: at once where it waits, else at its next token."""
        self._stopped.set()
        if self._stop:
            self._stop()

    @property
    def cancelled(self) -> bool:
        """Return whether nobody waits any more."""
        return self._stopped.is_set()

    def emit(self, piece: Any) -> None:
        """Pass on a piece; raise Stopped where nobody waits any more."""
        self.require_wanted()
        self._put(PIECE, piece)

    def require_wanted(self) -> None:
        """Raise Stopped where nobody waits any more."""
        if self.cancelled:
            raise JobStopped

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Call `stop`, from another thread, when nobody waits any more."""
        self._stop = stop
        if self.cancelled:
            stop()

    def drop(self) -> None:
        """Let go of what the run would have read; it will not run."""
        self.cancel()
        self._close()
        self._put(FAILED, JobStopped())

    def run(self) -> bool:
        """Run, and pass on the result or what was raised; return whether there is a result."""
        self.waited = time.monotonic() - self.submitted
        try:
            self.require_wanted()
            result = self._work(self)
        except BaseException as error:
            event = (FAILED, error)
        else:
            event = (DONE, result)
        self._close()
        self._put(*event)
        return event[0] == DONE

    def _put(self, kind: str, value: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(self._events.put_nowait, (kind, value))


class Pool:
    """`runs` threads that take jobs from a queue of at most `queue`, in their order."""

    def __init__(self, runs: int, queue: int) -> None:
        self.runs = runs
        self.queue = queue
        self.running = 0
        self.mean_seconds = 1.0
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        for number in range(runs):
            name = f"composer-run-{number}"
            threading.Thread(target=self._take, name=name, daemon=True).start()

    @property
    def waiting(self) -> int:
        """Return how many jobs wait that somebody wants."""
        with self._changed:
            return self._count()

    def _count(self) -> int:
        return sum(not job.cancelled for job in self._waiting)

    @property
    def retry_after(self) -> int:
        """Return in how many seconds there should be room, 1 to 60."""
        seconds = self.mean_seconds * (self.waiting + 1) / self.runs
        return min(max(math.ceil(seconds), LEAST_WAIT), MOST_WAIT)

    def require_room(self) -> None:
        """Raise Full where a job would not be taken now."""
        with self._changed:
            full = self._is_full()
        if full:
            raise QueueFull(self.retry_after)

    def _is_full(self) -> bool:
        return self._count() + self.running >= self.runs + self.queue

    def submit(self, work: Work, close: Callable[[], None]) -> Job:
        """Return the job that will run `work`; raise Full where it cannot wait any more.

        `close` is called once the job has run, or will not run any more.
        """
        job = Job(work, close)
        with self._changed:
            full = self._closed or self._is_full()
            if not full:
                self._waiting.append(job)
                self._changed.notify()
        if full:
            raise QueueFull(self.retry_after)
        return job

    def _take(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._closed):
                    self._changed.wait()
                if self._closed:
                    return
                job = self._waiting.popleft()
                self.running += 1
            began = time.monotonic()
            finished = job.run()
            seconds = time.monotonic() - began
            with self._changed:
                self.running -= 1
                if finished:
                    self.mean_seconds += SHARE * (seconds - self.mean_seconds)

    async def drain(self, seconds: float) -> bool:
        """Wait until nothing runs and nothing waits; return whether that came in time."""
        until = time.monotonic() + seconds
        while self.running or self.waiting:
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.05)
        return True

    def close(self) -> None:
        """Take no more jobs, and let those that run end at their next token."""
        with self._changed:
            self._closed = True
            for job in self._waiting:
                job.drop()
            self._waiting.clear()
            self._changed.notify_all()

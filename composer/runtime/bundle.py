"""Hold a bundle's components in memory and run its tasks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

from composer.checker.locked import check_digests
from composer.core import registry
from composer.core.component import Component, Token
from composer.core.errors import ComposerError, Problem
from composer.core.suggest import did_you_mean, listed
from composer.core.unknown import unknown
from composer.graph.checked import Checked
from composer.runtime.inputs import check_texts, read_feeds, read_inputs
from composer.runtime.loading import (
    check_memory_budget,
    fetch_files,
    load_components,
    require_known_ports,
    require_local_files,
    try_files,
)
from composer.runtime.options import read_options
from composer.runtime.plan import Plan, plan, require_complete
from composer.runtime.profile import Profile
from composer.runtime.run import Result, Run
from composer.runtime.split import run_pieces, split
from composer.runtime.stream import Stream
from composer.runtime.worker import Worker


class Bundle:
    """A checked bundle with its components in memory."""

    def __init__(self, checked: Checked, profile: Profile, trust: bool = False) -> None:
        self.checked = checked
        self.profile = profile
        self.trust = trust
        self.load_seconds: dict[str, float] = {}
        self._components: dict[str, Component] = {}
        self._workers: dict[str, Worker] = {}
        self._closed = False
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    @property
    def name(self) -> str:
        """Return the bundle's name."""
        return self.checked.manifest.name

    @property
    def tasks(self) -> list[str]:
        """Return the names of its tasks."""
        return list(self.checked.graphs)

    def load(self, task: str | None = None) -> None:
        """Load the components of one task, or of all, each backend beside the others."""
        self._ensure_loaded(self._used(task))

    def _used(self, task: str | None) -> Collection[str]:
        graphs = self.checked.graphs
        chosen = graphs.values() if task is None else [graphs[self.task(task)]]
        return dict.fromkeys(name for graph in chosen for name in graph.components)

    def _ensure_loaded(self, names: Collection[str]) -> None:
        with self._loading:
            missing = [name for name in names if name not in self._components]
            check_memory_budget(self.checked, names, self.profile)
            if not missing:
                return
            self._download(missing)
            try_files(self.checked, missing, self.profile, self.trust)
            loaded = load_components(self.checked, missing, self.profile, self.worker)
            self._components |= {name: component for name, (component, _) in loaded.items()}
            self.load_seconds |= {name: seconds for name, (_, seconds) in loaded.items()}

    def fetch(self, task: str | None = None) -> None:
        """Download and verify what a task, or every task, needs and is not here."""
        names = self._used(task)
        require_local_files(self.checked, names)
        check_memory_budget(self.checked, names, self.profile)
        with self._loading:
            self._download(names)

    def _download(self, names: Collection[str]) -> None:
        """Download what is not here, and hold all of it against the lock."""
        self.checked = fetch_files(self.checked, names)
        if self.checked.lock:
            check_digests(self.checked, names)

    def worker(self, backend: str) -> Worker:
        """Return where a backend's calls happen."""
        with self._lock:
            if backend not in self._workers:
                self._workers[backend] = Worker(registry.backend(backend))
            return self._workers[backend]

    def task(self, name: str | None) -> str:
        """Return the task's name, or the only task there is."""
        if name in self.checked.graphs:
            return str(name)
        if name is None and len(self.tasks) == 1:
            return self.tasks[0]
        if name is None:
            raise ComposerError(
                Problem(
                    "R543", "the bundle has several tasks", hint=f"choose: {listed(self.tasks)}"
                )
            )
        near = did_you_mean(name, self.tasks)
        hint = near or f"tasks: {listed(self.tasks)}"
        raise ComposerError(Problem("R543", f"the bundle has no task '{name}'", hint=hint))

    def plan(self, task: str | None = None, keep: Iterable[str] = ()) -> Plan:
        """Return what a run would do."""
        name = self.task(task)
        require_known_ports(self.checked, [self.checked.graphs[name]])
        return plan(self.checked, name, keep)

    def run(
        self,
        /,
        *,
        task: str | None = None,
        taps: Iterable[str] | bool = (),
        feed: Mapping[str, Any] | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        only: Iterable[str] | None = None,
        **inputs: Any,
    ) -> Result:
        """Run a task to its end.

        `taps` names values to keep (True: all); `feed` replaces values before their consumers run;
        `options` overrides options by node; `only` names the nodes to run, all of whose inputs are
        fed or given. Raise ComposerError when anything fails.
        """
        run = self._run(False, task, taps, feed, options, inputs, only)
        try:
            next(run)
        except StopIteration as end:
            result: Result = end.value
            return result
        raise AssertionError("a run that does not stream has no tokens")

    def stream(
        self,
        /,
        *,
        task: str | None = None,
        taps: Iterable[str] | bool = (),
        feed: Mapping[str, Any] | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        **inputs: Any,
    ) -> Stream:
        """Run a task and pass on the decoder's text piece by piece."""
        return Stream(self._run(True, task, taps, feed, options, inputs))

    def map(
        self, items: Iterable[Mapping[str, Any]], *, in_flight: int = 2, **given: Any
    ) -> Iterator[Result | ComposerError]:
        """Run a task on many sets of inputs, a few at once; yield results in order.

        A run that fails yields its ComposerError in its place.
        """
        pool = ThreadPoolExecutor(in_flight, "composer-run")
        flying: deque[Future[Result]] = deque()
        try:
            for item in items:
                flying.append(pool.submit(self.run, **{**given, **item}))
                if len(flying) >= in_flight:
                    yield _result_of(flying.popleft())
            while flying:
                yield _result_of(flying.popleft())
        finally:
            # Whoever stops reading, or is interrupted, does not wait for runs in flight.
            pool.shutdown(wait=False, cancel_futures=True)

    def _run(
        self,
        stream: bool,
        task: str | None,
        taps: Iterable[str] | bool,
        feed: Mapping[str, Any] | None,
        options: Mapping[str, Mapping[str, Any]] | None,
        inputs: Mapping[str, Any],
        only: Iterable[str] | None = None,
    ) -> Generator[Token, Any, Result]:
        if self._closed:
            raise ComposerError(Problem("R508", "the bundle is closed", hint="load it again"))
        name = self.task(task)
        graph = self.checked.graphs[name]
        taps = (taps,) if isinstance(taps, str) else taps
        tapped = set(graph.values) if taps is True else set(taps or ())
        chosen = None if only is None else set(only)
        feeds = read_feeds(graph, feed or {})
        problems = unknown("tap", tapped, graph.values)
        problems += unknown("run only", chosen or (), graph.nodes)
        settings, faults = read_options(self.checked, graph, options or {})
        problems += faults
        if problems:
            raise ComposerError(problems)
        require_known_ports(self.checked, [graph])
        planned = plan(self.checked, name, tapped, feeds, chosen)
        require_local_files(self.checked, planned.nbytes)
        values = read_inputs(graph, inputs, planned.unread | feeds.keys())
        check_texts(self.checked, graph, values)
        require_complete(planned, values.keys() | feeds.keys(), tapped)
        self._ensure_loaded(planned.nbytes)
        manifest = self.checked.manifest
        at = manifest.tasks[name].at
        pieces = split(planned, values | feeds)
        runs = [
            Run(
                plan=planned,
                components=self._components,
                worker=self.worker,
                place=lambda *path: manifest.place(*at, *path, key=True),
                values=piece.values,
                feed=frozenset(feeds),
                taps=frozenset(tapped),
                options=settings,
            )
            for piece in pieces
        ]
        return (yield from run_pieces(pieces, runs, stream))

    def close(self) -> None:
        """Let go of the weights and end the threads."""
        self._closed = True
        self._components.clear()
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _result_of(future: Future[Result]) -> Result | ComposerError:
    try:
        return future.result()
    except ComposerError as error:
        return error

"""Load a bundle's components once and run its tasks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from composer import registry
from composer.checker import Checked, check_variant
from composer.component import Component, Token
from composer.errors import ComposerError, Problem
from composer.inputs import read_inputs, read_value
from composer.names import find_bundle
from composer.plan import Plan, plan
from composer.profile import Profile
from composer.run import Result, Run
from composer.suggest import did_you_mean, listed
from composer.worker import Worker, drain


def load(
    bundle: str | Path,
    *,
    task: str | None = None,
    variant: str | None = None,
    profile: Profile | None = None,
    sources: Mapping[str, Path] | None = None,
    precision: Mapping[str, str] | None = None,
) -> Bundle:
    """Check a bundle and load what its tasks need, or what one task needs.

    `bundle` is a path or a shipped name. Raise ComposerError when the bundle is refused.
    """
    profile = profile or Profile()
    asked = {**profile.precision, **(precision or {})}
    report = check_variant(find_bundle(bundle), variant, sources=sources, precision=asked)
    loaded = Bundle(report.raise_if_refused(), profile)
    try:
        loaded.load(task)
    except BaseException:
        loaded.close()
        raise
    return loaded


class Bundle:
    """A checked bundle with its components in memory."""

    def __init__(self, checked: Checked, profile: Profile) -> None:
        self.checked = checked
        self.profile = profile
        self.load_seconds: dict[str, float] = {}
        self._components: dict[str, Component] = {}
        self._workers: dict[str, Worker] = {}
        self._lock = threading.Lock()

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
        graphs = self.checked.graphs
        chosen = graphs.values() if task is None else [graphs[self.task(task)]]
        names = {n.component: None for g in chosen for n in g.nodes.values() if n.component}
        missing = [name for name in names if name not in self._components]
        self._budget(names)
        with ThreadPoolExecutor(len(missing) or 1) as pool:
            loading = {name: pool.submit(self._load, name) for name in missing}
        problems: list[Problem] = []
        for future in loading.values():
            try:
                future.result()
            except ComposerError as error:
                problems += error.problems
        if problems:
            raise ComposerError(problems)

    def _load(self, name: str) -> None:
        known, began = self.checked.known[name], time.perf_counter()
        place = self.checked.manifest.place("components", name, key=True)
        for location in (known.spec.weights, known.spec.files):
            if location and location.path is None:
                raise ComposerError(
                    Problem(
                        "S473",
                        f"{name} needs {location}, and its source is not on this machine",
                        place,
                        hint=f"--source {location.source}=FOLDER runs it from a copy",
                    )
                )
        assert known.facts is not None
        placement = self.profile.placement(name)
        try:
            component = self.worker(known.cls.backend).call(
                known.cls.load, known.spec, known.facts, placement
            )
        except ComposerError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            problem = Problem("R504", f"{name} ({known.cls.name}) did not load: {what}", place)
            raise ComposerError(problem) from error
        self._components[name] = component
        self.load_seconds[name] = time.perf_counter() - began

    def _budget(self, names: Iterable[str]) -> None:
        facts = {name: self.checked.known[name].facts for name in names}
        needs = {name: known.nbytes for name, known in facts.items() if known}
        if self.profile.memory is not None and sum(needs.values()) > self.profile.memory:
            causes = tuple(f"{name}: {count / 1e9:.2f} GB" for name, count in needs.items())
            total, budget = sum(needs.values()) / 1e9, self.profile.memory / 1e9
            message = f"the weights need {total:.2f} GB, and the profile allows {budget:.2f} GB"
            raise ComposerError(
                Problem("R505", message, causes=causes, hint="choose a smaller variant")
            )

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
        return plan(self.checked, self.task(task), keep)

    def run(
        self,
        *,
        task: str | None = None,
        taps: Iterable[str] | bool = (),
        feed: Mapping[str, Any] | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        **inputs: Any,
    ) -> Result:
        """Run a task to its end.

        `taps` names values to keep (True: all); `feed` replaces values before their consumers run;
        `options` overrides options by node. Raise ComposerError when anything fails.
        """
        return drain(self._run(False, task, taps, feed, options, inputs))

    def stream(
        self,
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
        with ThreadPoolExecutor(in_flight, "composer-run") as pool:
            flying: deque[Future[Result]] = deque()
            for item in items:
                flying.append(pool.submit(self.run, **given, **item))
                if len(flying) >= in_flight:
                    yield _landed(flying.popleft())
            while flying:
                yield _landed(flying.popleft())

    def _run(
        self,
        stream: bool,
        task: str | None,
        taps: Iterable[str] | bool,
        feed: Mapping[str, Any] | None,
        options: Mapping[str, Mapping[str, Any]] | None,
        inputs: Mapping[str, Any],
    ) -> Generator[Token, None, Result]:
        name = self.task(task)
        graph = self.checked.graphs[name]
        tapped = set(graph.values) if taps is True else set(taps or ())
        feeds = self._feeds(name, feed or {})
        problems = self._unknown("tap", tapped, graph.values)
        problems += self._unknown("options of node", options or {}, graph.nodes)
        if problems:
            raise ComposerError(problems)
        values = read_inputs(graph, inputs, feeds)
        self.load(name)
        manifest = self.checked.manifest
        at = manifest.tasks[name].at
        run = Run(
            plan=self.plan(name, tapped),
            components=self._components,
            worker=self.worker,
            place=lambda node: manifest.place(*at, "graph", node, key=True),
            values=values,
            feed=feeds,
            taps=frozenset(tapped),
            options=options or {},
        )
        return (yield from run.result(stream))

    def _feeds(self, task: str, feed: Mapping[str, Any]) -> dict[str, Any]:
        graph = self.checked.graphs[task]
        problems = self._unknown("feed", feed, graph.values)
        fed = {}
        for name in feed.keys() & graph.values.keys():
            port = graph.values[name].port
            try:
                fed[name] = feed[name] if port is None else read_value(name, port, feed[name])
            except ComposerError as error:
                problems += error.problems
        if problems:
            raise ComposerError(problems)
        return fed

    def _unknown(self, verb: str, names: Iterable[str], known: Iterable[str]) -> list[Problem]:
        known = list(known)
        return [
            Problem(
                "R544",
                f"cannot {verb} '{name}': the task has no such name",
                hint=did_you_mean(name, known) or f"it has: {listed(known)}",
            )
            for name in names
            if name not in known
        ]

    def close(self) -> None:
        """Let go of the weights and end the threads."""
        self._components.clear()
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stream:
    """The text of a run as it comes; `result` is there once it has ended."""

    def __init__(self, run: Generator[Token, None, Result]) -> None:
        self._run = run
        self.result: Result | None = None

    def __iter__(self) -> Iterator[str]:
        self.result = yield from _texts(self._run)


def _texts(run: Generator[Token, None, Result]) -> Generator[str, None, Result]:
    while True:
        try:
            token = next(run)
        except StopIteration as end:
            result: Result = end.value
            return result
        if token.text:
            yield token.text


def _landed(future: Future[Result]) -> Result | ComposerError:
    try:
        return future.result()
    except ComposerError as error:
        return error

"""Keep a bundle's components in memory and run its tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import Any, Self, TypeVar

from composer.checker.padding import clip_length_axes
from composer.core.call_signature import CALL
from composer.core.component import Component, Token
from composer.core.errors import ComposerError, Problem
from composer.core.heap import FreedMemory
from composer.core.isolation import MEMORY
from composer.core.native_failures import describe_error, is_failure
from composer.core.suggest import did_you_mean, listed
from composer.graph.checked import Checked
from composer.runtime.components import LoadedComponents
from composer.runtime.joining import run_pieces
from composer.runtime.loading import require_every_port_known
from composer.runtime.plan import Plan, plan
from composer.runtime.profile import Profile
from composer.runtime.request import RunRequest, plan_run
from composer.runtime.result import Result
from composer.runtime.run import GraphRun
from composer.runtime.speech_scores import Detector
from composer.runtime.split import AudioPiece, split_audio
from composer.runtime.stream import RunStream

Answer = TypeVar("Answer")
MOST_KEPT = 4  # results that wait for one before them, of those in flight


class Bundle:
    """A checked bundle with its components in memory."""

    def __init__(self, checked: Checked, profile: Profile, trust: bool = False) -> None:
        self.profile = profile
        self._components = LoadedComponents(checked, profile, trust)
        self._closed = False
        self._gate = Lock()
        self._freed = FreedMemory()

    @property
    def checked(self) -> Checked:
        """Return the bundle as it was checked, once more when files have come."""
        return self._components.checked

    @checked.setter
    def checked(self, checked: Checked) -> None:
        self._components.checked = checked

    @property
    def name(self) -> str:
        """Return the bundle's name."""
        return self.checked.manifest.name

    @property
    def tasks(self) -> list[str]:
        """Return the names of its tasks."""
        return list(self.checked.graphs)

    @property
    def load_seconds(self) -> Mapping[str, float]:
        """Return how long each component took to load."""
        return self._components.load_seconds

    def component(self, name: str) -> Component:
        """Return a component that is loaded."""
        self._components.ensure_loaded([name])
        return self._components.by_name[name]

    def call(self, name: str, method: Callable[..., Answer], *args: Any) -> Answer:
        """Call a method of a component on its backend's own thread."""
        self._components.ensure_loaded([name])
        backend = self.checked.components[name].cls.backend
        return self._components.worker(backend).call(method, *args)

    def load(self, task: str | None = None) -> None:
        """Load the components of one task, or of all, each backend beside the others."""
        self._require_open()
        self._components.ensure_loaded(self._used(task))

    def fetch(self, task: str | None = None) -> None:
        """Download and verify what a task, or every task, needs and is not here."""
        self._components.fetch(self._used(task))

    def _used(self, task: str | None) -> Collection[str]:
        graphs = self.checked.graphs
        chosen = graphs.values() if task is None else [graphs[self.task(task)]]
        return dict.fromkeys(name for graph in chosen for name in graph.components)

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
        require_every_port_known(self.checked, [self.checked.graphs[name]])
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
        run = self._run(False, task, RunRequest(inputs, taps, feed or {}, options or {}, only))
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
    ) -> RunStream:
        """Run a task and pass on the decoder's text piece by piece."""
        return RunStream(self._run(True, task, RunRequest(inputs, taps, feed or {}, options or {})))

    def map(
        self, items: Iterable[Mapping[str, Any]], *, in_flight: int = 8, **given: Any
    ) -> Iterator[Result | ComposerError]:
        """Run a task on many sets of inputs, a few at once; yield results in order.

        A decoder continues those in flight together. None of them has other numbers for it.
        A run that fails yields its ComposerError in its place.
        """
        pool = ThreadPoolExecutor(in_flight, "composer-run")
        flying: deque[Future[Result]] = deque()
        try:
            for item in items:
                flying.append(pool.submit(self.run, **{**given, **item}))
                while flying and (flying[0].done() or len(flying) >= MOST_KEPT * in_flight):
                    yield _result_of(flying.popleft())
                running = [each for each in flying if not each.done()]
                if len(running) >= in_flight:
                    wait(running, return_when=FIRST_COMPLETED)
            while flying:
                yield _result_of(flying.popleft())
        finally:
            # Whoever stops reading, or is interrupted, does not wait for runs in flight.
            pool.shutdown(wait=False, cancel_futures=True)

    def _run(
        self, stream: bool, task: str | None, request: RunRequest
    ) -> Generator[Token, Any, Result]:
        self._require_open()
        planned = plan_run(self.checked, self.task(task), request)
        self._components.ensure_loaded(planned.plan.nbytes)
        manifest = self.checked.manifest
        at = manifest.tasks[planned.plan.graph.task].at
        lengths = clip_length_axes(planned.plan.graph, self.checked.components)

        def run(piece: AudioPiece) -> GraphRun:
            self._freed.give_back()
            return GraphRun(
                plan=planned.plan,
                components=self._components.by_name,
                worker=self._components.worker,
                place=lambda *path: manifest.place(*at, *path, key=True),
                given=piece.values,
                feed=planned.feed,
                taps=planned.taps,
                options=planned.options,
                gate=self._gate,
                lengthened=lengths,
                most=None if self._components.is_trusted else MEMORY,
            )

        pieces = split_audio(planned, self._detector)
        return (yield from run_pieces(planned.plan, pieces, run, stream))

    def speech_detector(self, task: str | None = None) -> Detector | None:
        """Return what detects speech in the audio of a task; None where it names nothing."""
        name = next(iter(self.checked.graphs[self.task(task)].detectors.values()), None)
        if name is None:
            return None
        self._components.ensure_loaded([name])
        return self._detector(name)

    def _detector(self, name: str) -> Detector:
        """Return a component that detects speech."""
        known = self.checked.components[name]
        assert known.methods is not None
        worker = self._components.worker(known.cls.backend)
        return Detector(self._components.by_name[name], known.methods[CALL], worker)

    def _require_open(self) -> None:
        if self._closed:
            raise ComposerError(Problem("R508", "the bundle is closed", hint="load it again"))

    def close(self) -> None:
        """Let go of the weights and end the threads."""
        self._closed = True
        self._components.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _result_of(future: Future[Result]) -> Result | ComposerError:
    try:
        return future.result()
    except ComposerError as error:
        return error
    except BaseException as error:
        if isinstance(error, Exception) or not is_failure(error):
            raise  # a fault of this program, or an interrupt
        return ComposerError(Problem("R500", f"the run failed: {describe_error(error)}"))

"""Run a plan: gather, call, compare the declared dims with the actual ones, store, drop."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.core import registry
from composer.core.component import Component, Token
from composer.core.errors import ComposerError, Place, Problem
from composer.core.placement import HOST
from composer.core.signature import OUT
from composer.core.suggest import listed
from composer.runtime.worker import Worker

if TYPE_CHECKING:
    from composer.core.ports import Port
    from composer.graph.graph import Conversion
    from composer.runtime.plan import Plan, Step


@dataclass(frozen=True)
class Result:
    """What a run gave.

    `outputs` by name, `finish_reason` of the decoder (`stop`, `length`, or `left` by its reader;
    None without one), `timings` in seconds by node, `tokens` generated, `taps` by value name: NumPy
    arrays and texts. `notes` say how far audio that was cut short was read, and
    which channel.
    """

    outputs: Mapping[str, Any]
    finish_reason: str | None
    timings: Mapping[str, float]
    tokens: int
    taps: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Return the output named `text`."""
        if "text" not in self.outputs:
            raise AttributeError(f"no output is named text; there are: {listed(self.outputs)}")
        return str(self.outputs["text"])


@dataclass
class Run:
    """One run of a plan over loaded components; `feed` names the values that stay as given."""

    plan: Plan
    components: Mapping[str, Component]
    worker: Callable[[str], Worker]
    place: Callable[..., Place]
    values: dict[str, Any]
    feed: frozenset[str]
    taps: frozenset[str]
    options: Mapping[str, Mapping[str, Any]]
    timings: dict[str, float] = field(default_factory=dict)
    tapped: dict[str, Any] = field(default_factory=dict)
    lengths: dict[Any, tuple[int, str]] = field(default_factory=dict)
    tokens: int = 0
    paused: float = 0.0
    finish_reason: str | None = None

    def result(self, stream: bool) -> Generator[Token, Any, Result]:
        """Run each step; yield the decoder's tokens when they are to be streamed."""
        for name, value in self.values.items():
            try:
                self.note(name, value)
            except ComposerError as error:
                given = self.place("inputs", name) if name in self.plan.graph.inputs else None
                raise ComposerError(replace(p, place=given) for p in error.problems) from None
        for step in self.plan.steps:
            yield from self.step(step, stream)
            for name in step.drops:
                self.values.pop(name, None)
        outputs = {name: self.plain(value) for name, value in self.plan.outputs.items()}
        return Result(outputs, self.finish_reason, self.timings, self.tokens, self.tapped)

    def step(self, step: Step, stream: bool) -> Generator[Token, Any, None]:
        node, began, self.paused = step.node, time.perf_counter(), 0.0
        try:
            answer = yield from self.call(step, stream)
            outputs = answer if set(node.outputs) != {OUT} else {OUT: answer}
            for out, name in node.outputs.items():
                self.store(step, name, outputs[out])
        except ComposerError as error:
            raise ComposerError(
                self.with_context(step, problem) for problem in error.problems
            ) from error
        except Exception as error:
            what = f"{type(error).__name__}: {error}".rstrip(": ")
            problem = Problem("R500", f"{node.run} failed: {what}")
            raise ComposerError(self.with_context(step, problem)) from error
        self.timings[node.name] = time.perf_counter() - began - self.paused

    def call(self, step: Step, stream: bool) -> Generator[Token, Any, Any]:
        node, worker = step.node, self.worker(step.backend)
        given = {key: self.prepare_input(step, key, name) for key, name in node.wires.items()}
        options = {**node.options, **self.options.get(node.name, {})}
        if node.component is None:
            operator = registry.operator(node.run)
            return worker.call(operator, worker.backend, **given, **options)
        component = self.components[node.component]
        method: Callable[..., Any] = getattr(component, node.method)
        assert node.signature is not None
        if not node.signature.streams:
            return worker.call(method, **given, **node.literals, **options)
        tokens = worker.call(method, **given, **node.literals, **options)
        answer = (
            (yield from self.exclude_consumer_time(worker.iterate(tokens)))
            if stream
            else worker.drain(tokens)
        )
        self.tokens += len(answer.get("ids", ()))
        self.finish_reason = answer.get("finish_reason", self.finish_reason)
        return answer

    def exclude_consumer_time(
        self, tokens: Generator[Token, Any, Any]
    ) -> Generator[Token, Any, Any]:
        """Pass tokens on; the time that their reader takes is no time of the node."""
        enough = None
        while True:
            try:
                token = tokens.send(enough)
            except StopIteration as end:
                return end.value
            began = time.perf_counter()
            try:
                enough = yield token
            except GeneratorExit:
                tokens.close()
                raise
            self.paused += time.perf_counter() - began

    def prepare_input(self, step: Step, key: str, name: str) -> Any:
        """Return a value as one input needs it: in its backend, dtype and sample rate."""
        value, want = self.values[name], step.wants[key]
        if want.kind == "audio":
            return value.resample(want.dims[0]) if want.dims else value
        if want.kind != "tensor":
            return value
        if key in step.node.converts:
            value = self.convert(value, step.node.converts[key])
        return self.to_backend(value, step.backend, want.dtype)

    def convert(self, value: Any, change: Conversion) -> Any:
        """Take rows from one space of a component to another, in its own backend and dtype."""
        component = self.components[change.component]
        worker = self.worker(component.backend)
        given = self.to_backend(value, component.backend, change.dtype)
        return worker.call(getattr(component, change.method), given)

    def to_backend(self, value: Any, backend: str, dtype: str | None) -> Any:
        """Return a tensor in a backend and a dtype; dtype None leaves it as it is."""
        home, target = self.owner(value), self.worker(backend)
        have = home.call(home.backend.dtype, value)
        dtype = dtype or have
        if dtype == "bool":
            return home.call(home.backend.to_numpy, value).astype(bool)
        if home is target:
            return value if have == dtype else home.call(home.backend.cast, value, dtype)
        return target.call(
            target.backend.from_numpy, home.call(home.backend.to_numpy, value), dtype
        )

    def owner(self, value: Any) -> Worker:
        """Return the worker of the backend that a tensor lives in."""
        return self.worker(registry.backend_of(value).name)

    def store(self, step: Step, name: str, value: Any) -> None:
        if name in self.feed:
            return
        self.values[name] = value
        self.note(name, value)

    def note(self, name: str, value: Any) -> None:
        """Measure a value, and copy it out if it is tapped, before anything can drop it."""
        port = self.plan.graph.values[name].port
        if port is not None and port.kind == "tensor":
            self.measure(name, port, value)
        if name in self.taps:
            self.tapped[name] = self.plain(name)

    def measure(self, name: str, port: Port, value: Any) -> None:
        """Compare a value's dtype and dims with what was declared, and with each other."""
        home = self.owner(value)
        home.call(home.backend.settle, value)
        dtype, shape = home.backend.dtype(value), home.backend.shape(value)
        graph = self.plan.graph
        dims = graph.values[name].dims
        # NumPy has no bfloat16: what is given or fed as one is float32 there.
        stand_in = home.backend.name == HOST and (port.dtype, dtype) == ("bf16", "f32")
        same = port.dtype in (None, dtype) or stand_in
        if not same or len(shape) != len(dims):
            promised = f"'{port}'" if str(port) else "a scalar"
            message = f"${name} came out as {dtype} {list(shape)}, but {promised} was declared"
            raise ComposerError(Problem("R503", message))
        for axis, (dim, length) in enumerate(zip(dims, shape, strict=True)):
            fixed = graph.dims.bound(dim, f"the port '{port}'")
            known = (
                (fixed.value, fixed.witness) if fixed else self.lengths.get(graph.dims.root(dim))
            )
            if known and known[0] != length:
                causes = (f"{known[0]} comes from {known[1]}",)
                message = f"axis {axis} of ${name} is {length}, but {known[0]} was expected"
                raise ComposerError(Problem("R501", message, causes=causes))
            if not fixed:
                self.lengths.setdefault(graph.dims.root(dim), (length, f"axis {axis} of ${name}"))

    def plain(self, name: str) -> Any:
        """Return a value as a user takes it: NumPy, text or audio."""
        value = self.values[name]
        port = self.plan.graph.values[name].port
        if port is None or port.kind != "tensor":
            return value
        home = self.owner(value)
        return np.array(home.call(home.backend.to_numpy, value))

    def with_context(self, step: Step, problem: Problem) -> Problem:
        """Add the node, its component and what went in to a problem of a run."""
        node = step.node
        given = ", ".join(f"{key} {self.summarize(name)}" for key, name in node.wires.items())
        where = f"at node '{node.name}' ({node.run})"
        causes = (*problem.causes, f"{where}, given {given}" if given else where)
        return replace(problem, place=self.place("graph", node.name), causes=causes)

    def summarize(self, name: str) -> str:
        value = self.values.get(name)
        if isinstance(value, str):
            return f"({len(value)} characters)"
        try:
            home = self.owner(value)
        except TypeError:
            return type(value).__name__.lower()
        return f"{home.backend.dtype(value)} {list(home.backend.shape(value))}"

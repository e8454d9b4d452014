"""Run a plan: gather, call, store, drop."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from composer.core import registry
from composer.core.call_signature import ADAPTERS, OUT, WHEN, gather_items
from composer.core.component import Component, Token
from composer.core.errors import ComposerError, Place, Problem
from composer.core.native_failures import describe_error, is_failure
from composer.runtime.result import Result
from composer.runtime.values import RunValues
from composer.runtime.worker import BackendWorker

if TYPE_CHECKING:
    from composer.checker.padding import ClipLengthAxis
    from composer.graph.graph import Conversion
    from composer.runtime.plan import Plan, Step


@dataclass
class GraphRun:
    """One run of a plan over loaded components.

    Runs in flight share a `gate`: of their calls one is at work at a time, beside the decoders,
    which continue all at once. So they take the memory of one encoder.
    `given` are the inputs and the values that are fed; those that `feed` names stay as given.
    What nodes made takes at most `most` bytes at once.
    """

    plan: Plan
    components: Mapping[str, Component]
    worker: Callable[[str], BackendWorker]
    place: Callable[..., Place]
    given: Mapping[str, Any]
    feed: frozenset[str]
    taps: frozenset[str]
    options: Mapping[str, Mapping[str, Any]]
    gate: AbstractContextManager[Any] = field(default_factory=nullcontext)
    lengthened: Mapping[str, ClipLengthAxis] = field(default_factory=dict)
    most: int | None = None
    timings: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    prompt_tokens: int = 0
    paused: float = 0.0
    finish_reason: str | None = None
    zeros: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values = RunValues(self.plan.graph, self.worker, self.taps, self.lengthened, self.most)

    def result(self, stream: bool) -> Generator[Token, Any, Result]:
        """Run each step; yield the decoder's tokens when they are to be streamed."""
        self._take_given()
        for step in self.plan.steps:
            yield from self._step(step, stream)
            for name in step.drops:
                self.values.drop(name)
        outputs = {name: self.values.plain(value) for name, value in self.plan.outputs.items()}
        notes, taps = tuple(self._notes()), self.values.tapped
        return Result(
            outputs,
            self.finish_reason,
            self.timings,
            self.tokens,
            taps,
            notes,
            prompt_tokens=self.prompt_tokens,
        )

    def _take_given(self) -> None:
        for name, value in self.given.items():
            try:
                self.values.add(name, value)
            except ComposerError as error:
                place = self.place("inputs", name) if name in self.plan.graph.inputs else None
                raise ComposerError(replace(p, place=place) for p in error.problems) from None

    def _step(self, step: Step, stream: bool) -> Generator[Token, Any, None]:
        node, began, self.paused = step.node, time.perf_counter(), 0.0
        try:
            answer = yield from self._call(step, stream)
            outputs = {OUT: answer} if set(node.outputs) == {OUT} else answer
            for out, name in node.outputs.items():
                value = outputs[out]
                if name not in self.feed:
                    self.values.add(name, value)
                    self._require_finite(step, name)
                    self._require_in_range(step, name)
                    if node.component and self.values.is_zero(name):
                        self.zeros.append(name)
        except ComposerError as error:
            raise ComposerError(
                self._with_context(step, problem) for problem in error.problems
            ) from error
        except BaseException as error:
            if not is_failure(error):
                raise
            problem = Problem("R500", f"{node.run} failed: {describe_error(error)}")
            raise ComposerError(self._with_context(step, problem)) from error
        self.timings[node.name] = time.perf_counter() - began - self.paused

    def _require_finite(self, step: Step, name: str) -> None:
        """Refuse numbers that overflowed: all that follows would be lost."""
        bad = self.values.count_infinite(name)
        if bad:
            cause = "none in its inputs"
            wires = step.node.wires.values()
            already = [f"${wire}" for wire in wires if self.values.count_infinite(wire)]
            if already:
                cause = f"already in its inputs: {', '.join(already)}"
            size = self.values.size(name)
            message = f"${name} has {bad} of {size} numbers that are NaN or infinite"
            raise ComposerError(Problem("R536", message, causes=(cause,)))

    def _require_in_range(self, step: Step, name: str) -> None:
        """Refuse numbers beyond those that the node expects."""
        port = self.values.graph.values[name].port
        if step.node.range is None or port is None or port.kind != "tensor" or port.dtype == "bool":
            return
        array = self.values.plain(name)
        low, high = step.node.range
        if not array.size:
            return
        least, greatest = array.min(), array.max()
        if (low is not None and least < low) or (high is not None and greatest > high):
            found = f"${name} has numbers from {least:g} to {greatest:g}"
            expected = f"{_limit(low)} to {_limit(high)}"
            raise ComposerError(Problem("R553", f"{found}, and its node expects {expected}"))

    def _notes(self) -> Iterator[str]:
        """Say which values are all zeros, which outputs are empty, and which are not finite."""
        for name in self.zeros:
            yield f"${name} is all zeros: its component has no weights, or was given zeros"
        for name, value in self.plan.outputs.items():
            if self.values.size(value) == 0:
                yield f"the output {name} is empty: {self.values.summarize(value)}"
            if bad := self.values.count_infinite(value):
                yield f"the output {name} has {bad} numbers that are NaN or infinite, as given"

    def _call(self, step: Step, stream: bool) -> Generator[Token, Any, Any]:
        node, worker = step.node, self.worker(step.backend)
        given = {key: self._prepare_input(step, key, name) for key, name in node.wires.items()}
        options = {**node.options, **self.options.get(node.name, {})}
        if WHEN in given and not given.pop(WHEN)[0]:
            options[ADAPTERS] = ()
        if node.component is None:
            operator = registry.operator(node.run)
            return worker.call(operator, worker.backend, **gather_items(given), **options)
        method: Callable[..., Any] = getattr(self.components[node.component], node.method)
        named = {**gather_items(given), **node.literals, **options}
        assert node.signature is not None
        if not node.signature.streams:
            with self.gate:
                return worker.call(method, **named)
        answer = worker.call(method, **named)
        if stream:
            answer = yield from self._exclude_consumer_time(worker.iterate(answer))
        else:
            answer = worker.drain(answer)
        for name in [*node.wires.values()][:1]:
            self.prompt_tokens += self.values.rows(name)
        self.tokens += len(answer.get("ids", ()))
        self.finish_reason = answer.get("finish_reason", self.finish_reason)
        return answer

    def _exclude_consumer_time(
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

    def _prepare_input(self, step: Step, key: str, name: str) -> Any:
        """Return a value as one input needs it: in its backend, dtype and sample rate."""
        value, want = self.values[name], step.wants[key]
        if want.kind == "audio":
            return value.resample(want.dims[0]) if want.dims else value
        if want.kind != "tensor":
            return value
        if key in step.node.converts:
            value = self._convert(value, step.node.converts[key])
        return self.values.to_backend(value, step.backend, want.dtype)

    def _convert(self, value: Any, change: Conversion) -> Any:
        """Take rows from one space of a component to another, in its own backend and dtype."""
        component = self.components[change.component]
        given = self.values.to_backend(value, component.backend, change.dtype)
        return self.worker(component.backend).call(getattr(component, change.method), given)

    def _with_context(self, step: Step, problem: Problem) -> Problem:
        """Add the node, its component and what went in to a problem of a run."""
        node, given = step.node, []
        for key, name in node.wires.items():
            given.append(f"{key} {self.values.summarize(name)}")
        where = f"at node '{node.name}' ({node.run})"
        if given:
            where += f", given {', '.join(given)}"
        place = self.place("graph", node.name)
        return replace(problem, place=place, causes=(*problem.causes, where))


def _limit(number: float | None) -> str:
    if number is None:
        return "any"
    return f"{number:g}"

"""A task run turn by turn: what it gives under the name of an input is that input's next value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from composer.graph.graph import Graph
    from composer.runtime.bundle import Bundle
    from composer.runtime.run import Result
    from composer.runtime.stream import Stream

TASK = "chat"
TEXT = "text"


@dataclass(frozen=True)
class Turns:
    """A task's graph, the input that is typed, and the inputs that its own outputs feed."""

    graph: Graph
    typed: str
    carried: tuple[str, ...]


@dataclass
class Conversation:
    """What a task carries from turn to turn."""

    bundle: Bundle
    turns: Turns
    given: Mapping[str, Any]
    options: Mapping[str, Mapping[str, Any]]
    carries: Mapping[str, Any] = field(default_factory=dict)

    def say(self, text: str) -> Stream:
        """Begin a turn; the conversation goes on from it once `take` has its result."""
        values = {**self.given, **self.carries, self.turns.typed: text}
        return self.bundle.stream(task=self.turns.graph.task, options=self.options, **values)

    def take(self, result: Result) -> None:
        """Go on from what a turn gave."""
        self.carries = {name: result.outputs[name] for name in self.turns.carried}

    def reset(self) -> None:
        """Begin anew."""
        self.carries = {}


def find_turns(bundle: Bundle, task: str | None) -> Turns:
    """Return the turns of a task: of the one named chat, or else of the only conversation.

    Raise BadParameter where there is none.
    """
    graphs = bundle.checked.graphs
    if task is not None or TASK in graphs or len(graphs) == 1:
        return _turns(graphs[bundle.task(TASK if task is None and TASK in graphs else task)])
    able = []
    for graph in graphs.values():
        try:
            able.append(_turns(graph))
        except typer.BadParameter:
            continue
    if len(able) != 1:
        names = ", ".join(turns.graph.task for turns in able)
        found = f"several conversations ({names})" if able else "no task that is a conversation"
        raise typer.BadParameter(f"{bundle.name} has {found}; choose by --task")
    return able[0]


def _turns(graph: Graph) -> Turns:
    typed = _typed(graph)
    carried = tuple(
        name
        for name, value in graph.outputs.items()
        if name in graph.inputs and name != typed and _same(graph, name, value)
    )
    if not carried:
        raise typer.BadParameter(
            f"task '{graph.task}' is no conversation: it takes nothing under the name and type of "
            "one of its outputs, such as history; composer run runs it once"
        )
    return Turns(graph, typed, carried)


def _typed(graph: Graph) -> str:
    """Return the input that is typed: `text`, or the only text without a default."""
    texts = [name for name, entry in graph.inputs.items() if entry.type == TEXT]
    needed = [name for name in texts if graph.inputs[name].default is None]
    if TEXT in texts:
        return TEXT
    if len(needed) != 1:
        found = f"several texts ({', '.join(needed)})" if needed else "no text that must be given"
        raise typer.BadParameter(
            f"task '{graph.task}' takes {found}; the one that is typed is named text"
        )
    return needed[0]


def _same(graph: Graph, name: str, value: str) -> bool:
    have, want = graph.values[value].port, graph.values[name].port
    if have is None or want is None:
        return False
    return (have.kind, have.dtype, len(have.dims)) == (want.kind, want.dtype, len(want.dims))

"""Converse with a bundle: each turn runs a task, whose outputs are inputs of the next turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from composer.core.errors import ComposerError, Problem
from composer.graph.graph import Graph
from composer.jobs.bundle import AnyBundle, Options, open_bundle
from composer.jobs.cut_short import CutShort, cut_short
from composer.jobs.progress import JobProgress, OnProgress, no_progress
from composer.jobs.speech import text_output
from composer.runtime.bundle import Bundle
from composer.runtime.inputs import read_inputs
from composer.runtime.options import check_options
from composer.runtime.result import Result
from composer.runtime.stream import RunStream

TASK = "chat"
TEXT = "text"


@dataclass(frozen=True)
class Reply:
    """A whole answer; `finish_reason` is `stop`, `length` or `cancelled`, or None."""

    text: str
    finish_reason: str | None
    tokens: int
    cut_short: CutShort | None = None


@dataclass(frozen=True)
class ConversationTask:
    """A task's graph, the input that is typed, and the inputs that its own outputs feed."""

    graph: Graph
    typed: str
    carried: tuple[str, ...]


@dataclass
class Conversation:
    """A task with what it carries from turn to turn.

    `ask` takes a whole turn; `begin` gives one that can be read as it is decoded. `close`, or the
    end of a `with` block, closes the bundle where the conversation opened it.
    """

    bundle: Bundle
    turns: ConversationTask
    inputs: Mapping[str, Any]
    options: Options
    carried: Mapping[str, Any] = field(default_factory=dict)
    opened: ExitStack = field(default_factory=ExitStack)

    def ask(self, text: str, on_text: Callable[[str], None] | None = None) -> Reply:
        """Take a turn and return its answer; `on_text` is called with each piece as it is decoded.

        Raise ComposerError where the turn fails; the conversation is then what it was before.
        """
        with self.begin(text) as turn:
            for piece in turn:
                if on_text:
                    on_text(piece)
            return turn.finish()

    def begin(self, text: str) -> Turn:
        """Begin a turn; the conversation continues from it once it is finished."""
        values = {**self.inputs, **self.carried, self.turns.typed: text}
        task = self.turns.graph.task
        return Turn(self, self.bundle.stream(task=task, options=self.options, **values))

    def carry(self, result: Result) -> None:
        """Continue from what a turn gave."""
        self.carried = {name: result.outputs[name] for name in self.turns.carried}

    def reset(self) -> None:
        """Forget all turns."""
        self.carried = {}

    def close(self) -> None:
        """Close the bundle, where the conversation opened it."""
        self.opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Turn:
    """A turn that is being decoded: its pieces of text, and at the end the whole answer.

    Left before its end, by `close` or by the end of a `with` block, it is forgotten.
    """

    def __init__(self, conversation: Conversation, stream: RunStream) -> None:
        self._conversation = conversation
        self._stream = stream

    def __iter__(self) -> Iterator[str]:
        return self._stream

    def stop(self) -> None:
        """End the answer after the next token; what there is of it stays in the conversation."""
        self._stream.stop()

    def finish(self) -> Reply:
        """Decode what is left, return the answer, and continue the conversation from it."""
        for _ in self._stream:
            pass
        result, talk = self._stream.result, self._conversation
        assert result is not None
        graph = talk.turns.graph
        talk.carry(result)
        return Reply(
            str(result.outputs[text_output(graph)]),
            result.finish_reason,
            result.tokens,
            cut_short(result, graph, talk.options),
        )

    def close(self) -> None:
        """Give the turn up."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def converse(
    bundle: AnyBundle,
    *,
    task: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    options: Options | None = None,
    progress: OnProgress = no_progress,
) -> Conversation:
    """Load a bundle and return a conversation with it, as in `with converse(...) as talk:`.

    The task is the one that is named, else `chat`, else the only one that is a conversation: one
    that gives under the name of an input, such as its history, what that input is in the next turn.
    `inputs` are those that every turn shares, or that the first begins with; `options` override
    options by node. `progress` is called with the stages "fetching" and "loading".

    `talk.ask("hello")` is a Reply. Raise ComposerError where the bundle is refused or does not
    load (any code), where there is no such task (R543), or where inputs or options are wrong
    (R540 to R544); a turn raises what its run raises.
    """
    with ExitStack() as stack:
        ready = stack.enter_context(open_bundle(bundle))
        turns = find_turns(ready, task)
        given = dict(inputs or {})
        if turns.typed in given:
            message = f"'{turns.typed}' is what is typed in each turn: leave it out of the inputs"
            raise ComposerError(Problem("R540", message))
        read_inputs(turns.graph, given, {turns.typed: None})
        check_options(ready.checked, turns.graph, options or {})
        progress(JobProgress("fetching", ready.name))
        ready.fetch(turns.graph.task)
        progress(JobProgress("loading", ready.name))
        ready.load(turns.graph.task)
        return Conversation(ready, turns, given, options or {}, opened=stack.pop_all())


def find_turns(bundle: Bundle, task: str | None) -> ConversationTask:
    """Return the turns of a task: of the one named chat, or else of the only conversation.

    Raise R543 where there is none.
    """
    graphs = bundle.checked.graphs
    if task is None and TASK in graphs:
        task = TASK
    if task is not None or len(graphs) == 1:
        return _turns(graphs[bundle.task(task)])
    able = []
    for graph in graphs.values():
        try:
            able.append(_turns(graph))
        except ComposerError:
            continue
    if len(able) != 1:
        found = "no task that is a conversation"
        if able:
            names = ", ".join(turns.graph.task for turns in able)
            found = f"several conversations ({names})"
        raise _refused(f"{bundle.name} has {found}; choose by --task")
    return able[0]


def _turns(graph: Graph) -> ConversationTask:
    typed = _typed(graph)
    found = []
    for name, value in graph.outputs.items():
        if name in graph.inputs and name != typed and _same_type(graph, name, value):
            found.append(name)
    carried = tuple(found)
    if not carried:
        raise _refused(
            f"task '{graph.task}' is not a conversation: no output has the name and type of an "
            "input, such as history; composer run runs it once"
        )
    text_output(graph)  # refuses a task that gives no text
    return ConversationTask(graph, typed, carried)


def _typed(graph: Graph) -> str:
    """Return the input that is typed: `text`, or the only text without a default."""
    needed = []
    for name, entry in graph.inputs.items():
        if entry.type == TEXT and name == TEXT:
            return TEXT
        if entry.type == TEXT and entry.default is None:
            needed.append(name)
    if len(needed) != 1:
        found = "no text that must be given"
        if needed:
            found = f"several texts ({', '.join(needed)})"
        raise _refused(f"task '{graph.task}' takes {found}; the one that is typed is named text")
    return needed[0]


def _same_type(graph: Graph, name: str, value: str) -> bool:
    output, input = graph.values[value].port, graph.values[name].port
    if output is None or input is None:
        return False
    kinds = (output.kind, output.dtype, len(output.dims))
    return kinds == (input.kind, input.dtype, len(input.dims))


def _refused(message: str) -> ComposerError:
    return ComposerError(Problem("R543", message))

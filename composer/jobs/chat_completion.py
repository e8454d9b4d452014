"""Answer a conversation that somebody else keeps: all its messages are given each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed
from composer.formats.audio.clip import Clip
from composer.graph.graph import Graph
from composer.jobs.bundle import Options
from composer.jobs.converse import Conversation, find_turns
from composer.jobs.restored_turns import restore_turn
from composer.jobs.speech import text_output
from composer.jobs.text_stream import TextStream
from composer.runtime.bundle import Bundle
from composer.runtime.inputs import check_text_inputs
from composer.runtime.options import check_options

TYPED = ("text", "prompt", "question", "instruction")  # inputs beside audio or pictures
SYSTEM = ("system", "context")


@dataclass(frozen=True)
class Message:
    """One message: its text, and what is beside it."""

    role: str
    text: str
    audio: tuple[Clip, ...] = ()
    images: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class ChatTask:
    """The task that answers the last message, with its inputs and the turns before it."""

    bundle: Bundle
    graph: Graph
    inputs: Mapping[str, Any]
    options: Options
    earlier: tuple[tuple[str, str], ...] = ()
    text: str = field(default="text")

    def stream(self) -> TextStream:
        """Run the task after the turns before; raise ComposerError where that fails."""
        inputs = self.inputs
        if self.earlier:
            turns = find_turns(self.bundle, self.graph.task)
            shared = {name: each for name, each in inputs.items() if name != turns.typed}
            talk = Conversation(self.bundle, turns, shared, self.options)
            for asked, answered in self.earlier:
                restore_turn(talk, asked, answered)
            inputs = {**inputs, **talk.carried}
        return TextStream(self.bundle, self.graph, self.text, inputs, self.options)


def find_chat_task(
    bundle: Bundle, messages: Sequence[Message], task: str | None = None
) -> ChatTask:
    """Find the task that answers messages: one that takes what the last of them has.

    A message with audio goes to the task that takes audio, one with pictures to one that takes a
    picture, and a text to the conversation of the bundle. Raise ComposerError R543 where there is
    none, R540 to R542 where the task does not take what is given.
    """
    system = [each.text for each in messages if each.role == "system"]
    talk = [each for each in messages if each.role != "system"]
    if not talk or talk[-1].role != "user":
        raise _refused("R542", "the last message must be the user's")
    last, earlier = talk[-1], _pairs(talk[:-1])
    if any(each.audio or each.images for each in talk[:-1]):
        raise _refused("R542", "only the last message may have audio or pictures")
    if last.audio or last.images:
        if earlier:
            raise _refused("R542", "a message with audio or pictures must be the only one")
        graph, inputs = _with_media(bundle, last, task)
    else:
        turns = find_turns(bundle, task)
        graph, inputs = turns.graph, {turns.typed: last.text}
    if system:
        inputs[_one_of(graph, SYSTEM, "a system message")] = "\n".join(system)
    check_text_inputs(bundle.checked, graph, _texts(inputs))
    return ChatTask(bundle, graph, inputs, {}, earlier, text_output(graph))


def with_options(question: ChatTask, given: Mapping[str, Any]) -> ChatTask:
    """Return the question with options of its decoder; raise ComposerError R544 or R542."""
    streaming = [n for n in question.graph.nodes.values() if n.signature and n.signature.streams]
    if not given:
        return question
    if not streaming:
        raise _refused("R544", f"task '{question.graph.task}' has no decoder")
    options = {streaming[-1].name: dict(given)}
    check_options(question.bundle.checked, question.graph, options)
    return ChatTask(
        question.bundle, question.graph, question.inputs, options, question.earlier, question.text
    )


def _with_media(bundle: Bundle, last: Message, task: str | None) -> tuple[Graph, dict[str, Any]]:
    media = {"audio": last.audio, "image": last.images}
    graphs = bundle.checked.graphs
    chosen = [graphs[bundle.task(task)]] if task else list(graphs.values())
    for graph in sorted(chosen, key=lambda each: bool(_inputs(each, "images"))):
        named = {kind: _inputs(graph, kind) for kind in media}
        pictures = _inputs(graph, "images")
        inputs: dict[str, Any] = {}
        if len(pictures) == 1 and not named["image"] and last.images:
            inputs[pictures[0]] = list(last.images)
            named["image"], media = [], {**media, "image": ()}
        elif pictures:
            continue
        if any(len(named[kind]) != len(media[kind]) for kind in media):
            continue
        for kind, given in media.items():
            inputs |= zip(named[kind], given, strict=True)
        if last.text.strip():
            inputs[_one_of(graph, TYPED, "text beside audio or a picture")] = last.text
        return graph, inputs
    counts = ", ".join(f"{len(each)} {kind}" for kind, each in media.items() if each)
    tasks = listed(graph.task for graph in chosen)
    raise _refused("R543", f"no task of {bundle.name} takes {counts}; there are: {tasks}")


def _inputs(graph: Graph, kind: str) -> list[str]:
    return [name for name, entry in graph.inputs.items() if entry.type == kind]


def _one_of(graph: Graph, names: Sequence[str], what: str) -> str:
    for name in names:
        if name in graph.inputs and graph.inputs[name].type == "text":
            return name
    raise _refused("R540", f"task '{graph.task}' takes no {what.removeprefix('a ')}")


def _pairs(talk: Sequence[Message]) -> tuple[tuple[str, str], ...]:
    """Return what was asked and answered; raise R542 unless both take turns."""
    roles = [each.role for each in talk]
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise _refused("R542", "user and assistant must take turns, and the user begins")
    return tuple((talk[n].text, talk[n + 1].text) for n in range(0, len(talk), 2))


def _texts(inputs: Mapping[str, Any]) -> dict[str, str]:
    return {name: each for name, each in inputs.items() if isinstance(each, str)}


def _refused(code: str, message: str) -> ComposerError:
    return ComposerError(Problem(code, message))

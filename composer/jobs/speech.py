"""Prepare a task that turns one audio input into text, for all jobs that run it on clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.graph.graph import Graph
from composer.jobs.bundle import Options
from composer.jobs.progress import OnProgress, Progress
from composer.runtime.bundle import Bundle
from composer.runtime.inputs import check_texts, read_inputs
from composer.runtime.options import check_options

TASK = "transcribe"


@dataclass(frozen=True)
class SpeechTask:
    """A task of a bundle: where its audio goes in, which text comes out, and what else it is given.

    `inputs` are those that every clip shares, `options` are overridden options by node.
    """

    bundle: Bundle
    graph: Graph
    audio: str
    text: str
    inputs: Mapping[str, Any]
    options: Options

    def load(self, progress: OnProgress) -> None:
        """Download what the task needs and is not here, and load it."""
        progress(Progress("fetching", self.bundle.name))
        self.bundle.fetch(self.graph.task)
        progress(Progress("loading", self.bundle.name))
        self.bundle.load(self.graph.task)


def speech_graph(bundle: Bundle, task: str | None) -> Graph:
    """Return a task's graph: of the one that is named, else of `transcribe`, else of the only one.

    Raise ComposerError R543 where that is not clear.
    """
    if task is None and TASK in bundle.tasks:
        task = TASK
    return bundle.checked.graphs[bundle.task(task)]


def speech_task(
    bundle: Bundle, task: str | None, inputs: Mapping[str, Any], options: Options
) -> SpeechTask:
    """Check what a speech task is given, and find its audio and its text.

    Raise ComposerError R543 for a task that takes no audio or gives no text, R540 to R544 for
    inputs or options that are wrong.
    """
    graph = speech_graph(bundle, task)
    audio, text = audio_input(graph), text_output(graph)
    if audio in inputs:
        message = f"'{audio}' is each clip in turn: name the clips as arguments, not as an input"
        raise ComposerError(Problem("R540", message))
    check_texts(bundle.checked, graph, read_inputs(graph, inputs, {audio: None}))
    check_options(bundle.checked, graph, options)
    return SpeechTask(bundle, graph, audio, text, inputs, options)


def audio_input(graph: Graph) -> str:
    """Return the name of the task's one audio input."""
    names = [name for name, entry in graph.inputs.items() if entry.type == "audio"]
    if len(names) != 1:
        found = f"has {len(names)} audio inputs ({', '.join(names)})" if names else "takes no audio"
        message = f"task '{graph.task}' {found}; composer run gives every input"
        raise ComposerError(Problem("R543", message))
    return names[0]


def text_output(graph: Graph) -> str:
    """Return the name of the output that is the answer: `text`, or the only text there is."""
    kinds = {name: graph.values[value].port for name, value in graph.outputs.items()}
    names = [name for name, port in kinds.items() if port and port.kind == "text"]
    if "text" in names:
        return "text"
    if len(names) != 1:
        found = f"several texts ({', '.join(names)})" if names else "no text"
        message = f"task '{graph.task}' gives {found}; composer run prints all"
        raise ComposerError(Problem("R543", message))
    return names[0]

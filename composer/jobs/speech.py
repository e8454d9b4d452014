"""Prepare a task that turns one audio input into text, for all jobs that run it on clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.formats.audio.channels import Channel, check_channel_choice
from composer.formats.audio.clip import Clip
from composer.formats.audio.reading import Source
from composer.generation.options import TEXT_ENDS
from composer.graph.graph import Graph, Node
from composer.jobs.bundle import Options
from composer.jobs.cut_short import cut_short
from composer.jobs.progress import JobProgress, OnProgress
from composer.jobs.suspicious import suspicions
from composer.jobs.transcription import SpokenSegment, Transcription
from composer.jobs.words import plain_words, with_logprobs
from composer.runtime.bundle import Bundle
from composer.runtime.inputs import check_text_inputs, read_inputs
from composer.runtime.options import check_options
from composer.runtime.provenance import describe_run
from composer.runtime.result import Result, ResultSegment

TASK = "transcribe"
LANGUAGE = "language"
IDS, LOGPROBS, TEMPERATURE = "ids", "logprobs", "temperature"
ANSWER = "text"
DECODED = (IDS, LOGPROBS, ANSWER, TEXT_ENDS)


@dataclass(frozen=True)
class SpeechTask:
    """A task of a bundle: where its audio goes in, which text comes out, and what else it is given.

    `inputs` are those that every clip shares, `options` are overridden options by node. `channel`
    is the one to read of each clip, `partial` whether a clip may be truncated.
    """

    bundle: Bundle
    graph: Graph
    audio: str
    text: str
    inputs: Mapping[str, Any]
    options: Options
    channel: Channel
    partial: bool

    def clip(self, source: Source) -> Clip:
        """Return the audio input of a source."""
        return Clip(source, self.channel, self.partial)

    def made_by(self) -> dict[str, Any]:
        """Return everything that the results depend on except the clips, in JSON types."""
        described = describe_run(self.bundle, self.graph.task, self.inputs, self.options)
        return {**described, "audio": {"channel": self.channel, "partial": self.partial}}

    def load(self, progress: OnProgress) -> None:
        """Download what the task needs and is not here, and load it."""
        progress(JobProgress("fetching", self.bundle.name))
        self.bundle.fetch(self.graph.task)
        progress(JobProgress("loading", self.bundle.name))
        self.bundle.load(self.graph.task)

    @property
    def decoder(self) -> Node | None:
        """Return the node that writes the answer, the last that streams; None without one."""
        streaming = [n for n in self.graph.nodes.values() if n.signature and n.signature.streams]
        return streaming[-1] if streaming else None

    def option(self, name: str) -> Any:
        """Return an option of the decoder as it is in a run; None where it has no such option."""
        node = self.decoder
        if node is None or node.signature is None or name not in node.signature.options:
            return None
        given = {**node.options, **self.options.get(node.name, {})}
        return given.get(name, node.signature.options[name].default)

    @property
    def taps(self) -> tuple[str, ...]:
        """Return the values of a run from which its transcription is made, beside its outputs."""
        outputs = self.decoder.outputs if self.decoder else {}
        return tuple(outputs[name] for name in DECODED if name in outputs)

    def with_logprobs(self) -> SpeechTask:
        """Return the task with the log-probability of each token, where the decoder gives it."""
        node = self.decoder
        if node is None or self.option(LOGPROBS) is None:
            return self
        own = {**self.options.get(node.name, {}), LOGPROBS: True}
        return replace(self, options={**self.options, node.name: own})

    def transcription(self, clip: Source, result: Result | ComposerError) -> Transcription:
        """Return what a run of the task, with its `taps`, made of a clip."""
        if isinstance(result, ComposerError):
            return Transcription(clip, problems=result.problems)
        segments = []
        for number, each in enumerate(result.segments):
            segments.append(self._segment(result, number, each))
        return Transcription(
            clip,
            str(result.outputs[self.text]),
            result.outputs,
            result.finish_reason,
            result.tokens,
            sum(result.timings.values()),
            cut_short(result, self.graph, self.options),
            result.notes,
            segments=tuple(sorted(segments, key=lambda each: (each.start, each.channel))),
            language=self._language(result),
            duration=max((each.end for each in segments), default=0.0),
            prompt_tokens=result.prompt_tokens,
            temperature=float(self.option(TEMPERATURE) or 0.0),
            timings=result.timings,
            task=self.graph.task,
            audio_seconds=result.audio_seconds,
            run_seconds=sum(each.end - each.start for each in segments if not each.silent),
            silent_seconds=sum(each.end - each.start for each in segments if each.silent),
        )

    def _segment(self, result: Result, number: int, each: ResultSegment) -> SpokenSegment:
        text = str(each.outputs.get(self.text, ""))
        found = SpokenSegment(each.start, each.end, text, each.channel)
        if each.silent:
            return replace(found, silent=True, speech=each.speech)
        decoded = self._decoded(result, number, text)
        logprobs, text_ends = decoded.get(LOGPROBS, ()), decoded.get(TEXT_ENDS, ())
        words = with_logprobs(plain_words(text), text, text_ends, logprobs)
        return replace(
            found,
            ids=decoded.get(IDS, ()),
            logprobs=logprobs,
            text_ends=text_ends,
            words=words if logprobs else (),
            speech=each.speech,
            suspicious=suspicions(text, each.end - each.start, each.speech, logprobs),
        )

    def _decoded(self, result: Result, number: int, text: str) -> dict[str, tuple[Any, ...]]:
        """Return what the decoder gave beside the text of one segment, which is in its answer."""
        outputs = self.decoder.outputs if self.decoder else {}
        found: dict[str, Any] = {}
        for name in DECODED:
            value = outputs.get(name, "")
            if len(result.segments) > 1:
                value = f"{number}/{value}"
            if value in result.taps:
                found[name] = result.taps[value]
        answer = found.pop(ANSWER, "")
        first = answer.find(text)
        if TEXT_ENDS in found and first >= 0:
            found[TEXT_ENDS] = found[TEXT_ENDS] - first
        else:
            found.pop(TEXT_ENDS, None)
        return {name: tuple(value.tolist()) for name, value in found.items()}

    def _language(self, result: Result) -> str | None:
        """Return the language that the task names, or was given."""
        for found in (result.outputs.get(LANGUAGE), self.inputs.get(LANGUAGE)):
            if isinstance(found, str) and found:
                return found
        entry = self.graph.inputs.get(LANGUAGE)
        return str(entry.default) if entry and entry.default else None


def speech_graph(bundle: Bundle, task: str | None) -> Graph:
    """Return a task's graph: of the one that is named, else of `transcribe`, else of the only one.

    Raise ComposerError R543 where that is not clear.
    """
    if task is None and TASK in bundle.tasks:
        task = TASK
    return bundle.checked.graphs[bundle.task(task)]


def speech_task(
    bundle: Bundle,
    task: str | None,
    inputs: Mapping[str, Any],
    options: Options,
    channel: Channel | None = None,
    partial: bool = False,
) -> SpeechTask:
    """Check what a speech task is given, and find its audio and its text.

    `channel` is None for what the bundle's input says. Raise ComposerError R543 for a task that
    takes no audio or gives no text, R540 to R544 for inputs or options that are wrong.
    """
    graph = speech_graph(bundle, task)
    audio, text = audio_input(graph), text_output(graph)
    if audio in inputs:
        message = f"'{audio}' is each clip in turn: name the clips as arguments, not as an input"
        raise ComposerError(Problem("R540", message))
    check_text_inputs(bundle.checked, graph, read_inputs(graph, inputs, {audio: None}))
    check_options(bundle.checked, graph, options)
    if channel is not None:
        check_channel_choice(channel)
    chosen = channel or graph.inputs[audio].channel
    return SpeechTask(bundle, graph, audio, text, inputs, options, chosen, partial)


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

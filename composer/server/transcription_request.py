"""Read the fields of a transcription, all of them, and prepare the task that they ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from composer.core.errors import ComposerError
from composer.core.languages import in_spelling_of
from composer.graph.graph import Graph
from composer.jobs.aligner import Aligner
from composer.jobs.speech import LANGUAGE, LOGPROBS, SpeechTask, speech_graph, speech_task
from composer.server.errors import ApiError, api_error_of, bad_request, unsupported_request
from composer.server.fields import FormFields
from composer.server.served_models import ServedModel, ServedModels
from composer.server.turns import SERVER_VAD

TRANSLATE = "translate"
CONTEXT = "context"
FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
STREAMED = ("json", "text")
MOST_TOKENS = 100_000
GRANULARITIES = "timestamp_granularities"
SPEAKERS = ("known_speaker_names", "known_speaker_references")


@dataclass(frozen=True)
class TranscriptionRequest:
    """A transcription that can run: its task, how it is written, what times its words, and whether
    the log-probabilities of its tokens are written too.
    """

    model: ServedModel
    speech: SpeechTask
    format: str
    stream: bool
    aligner: Aligner | None = None
    logprobs: bool = False


def read_transcription(
    models: ServedModels, pairs: list[tuple[str, str]], *, translate: bool = False
) -> TranscriptionRequest:
    """Read a form's fields; raise ApiError, which names the field, for the first that is wrong."""
    fields = FormFields(pairs)
    name = fields.text("model")
    if name is None:
        raise bad_request(f"'model' is missing; this server has {', '.join(models.names)}", "model")
    model = models[name]
    graph = _graph(model, fields, translate)
    inputs = {**_language(model, graph, fields), **_context(model, graph, fields)}
    format, stream = _format(fields)
    aligner = _aligner(models, model, fields, format == "verbose_json" or stream, inputs)
    logprobs = _logprobs(fields, format)
    _refuse(model, graph, fields)
    options = _options(fields)
    fields.refuse_unread()
    speech = _speech(model, graph, inputs, options)
    if logprobs and speech.option(LOGPROBS) is None:
        raise unsupported_request(f"{model.name} gives no logprobs", "include")
    if logprobs or format == "verbose_json":
        speech = speech.with_logprobs()
    return TranscriptionRequest(model, speech, format, stream, aligner, logprobs)


def _graph(model: ServedModel, fields: FormFields, translate: bool) -> Graph:
    """Return the task that is asked for: one that translates, or transcribes."""
    tasks = model.bundle.tasks
    named = fields.text("task")
    if translate:
        if TRANSLATE not in tasks:
            message = f"{model.name} has no task that translates"
            raise ApiError(404, message, param="model", code="not_supported")
        return model.bundle.checked.graphs[TRANSLATE]
    try:
        return speech_graph(model.bundle, named)
    except ComposerError as error:
        raise api_error_of(error, "task" if named else "model") from None


def _language(model: ServedModel, graph: Graph, fields: FormFields) -> dict[str, str]:
    named, several = fields.text(LANGUAGE), fields.texts("languages")
    param = LANGUAGE if named else "languages"
    if named and several:
        raise bad_request("give 'language' or 'languages', not both", "languages")
    if len(several) > 1:
        message = f"{model.name} takes one language, or none where it finds out by itself"
        raise unsupported_request(message, param)
    language = named or next(iter(several), None)
    if language is None:
        return {}
    if LANGUAGE not in graph.inputs:
        raise unsupported_request(f"{model.name} takes no language: leave it out", param)
    return {LANGUAGE: in_spelling_of(language, str(graph.inputs[LANGUAGE].default or ""))}


def _context(model: ServedModel, graph: Graph, fields: FormFields) -> dict[str, str]:
    """Return the prompt and the words to expect, which are one input of a bundle."""
    given = {"prompt": fields.text("prompt"), "hotwords": fields.text("hotwords")}
    given["keywords"] = ", ".join(fields.texts("keywords"))
    named = {name: text for name, text in given.items() if text}
    if not named:
        return {}
    if CONTEXT not in graph.inputs:
        raise unsupported_request(f"{model.name} takes no words to expect", next(iter(named)))
    return {CONTEXT: "\n".join(named.values())}


def _format(fields: FormFields) -> tuple[str, bool]:
    format = fields.choice("response_format", FORMATS, "json")
    if format == "diarized_json":
        raise unsupported_request(
            "there are no speakers in what this model gives", "response_format"
        )
    stream = fields.flag("stream")
    if stream and format not in STREAMED:
        message = f"a stream gives events with text, not {format}: leave out one of the two"
        raise unsupported_request(message, "stream")
    return format, stream


def _aligner(
    models: ServedModels,
    model: ServedModel,
    fields: FormFields,
    has_words: bool,
    inputs: Mapping[str, str],
) -> Aligner | None:
    """Return what times words, where that is asked for: the model itself, or the first that can.

    `has_words` says whether there is a place for words in what is answered.
    """
    wanted = fields.texts(GRANULARITIES)
    for each in wanted:
        if each not in ("word", "segment"):
            raise bad_request(
                f"'{each}' is no granularity: there are word and segment", GRANULARITIES
            )
    if wanted and not has_words:
        message = f"{GRANULARITIES} go with response_format=verbose_json, or with a stream"
        raise bad_request(message, GRANULARITIES)
    if "word" not in wanted:
        return None
    aligner = model.aligner or models.aligner
    if aligner is None:
        message = "times of words need an aligner, and none is served; there are segments"
        raise unsupported_request(f"{message}: composer serve MODEL aligner-mini", GRANULARITIES)
    try:
        aligner.check(inputs.get(LANGUAGE))
    except ComposerError as error:
        raise api_error_of(error, GRANULARITIES) from None
    return aligner


def _logprobs(fields: FormFields, format: str) -> bool:
    """Return whether log-probabilities are to be included, which json has a place for."""
    wanted = fields.texts("include")
    for each in wanted:
        if each != "logprobs":
            raise unsupported_request(f"'{each}' cannot be included: logprobs can", "include")
    if wanted and format != "json":
        raise bad_request("logprobs go with response_format=json alone", "include")
    return bool(wanted)


def _refuse(model: ServedModel, graph: Graph, fields: FormFields) -> None:
    """Refuse what the API has and the model has not, by name."""
    for name in SPEAKERS:
        if fields.texts(name):
            raise unsupported_request(f"{model.name} knows no speakers", name)
    strategy, settings = _strategy(fields)
    if strategy == SERVER_VAD and graph.detectors:
        for name in settings:
            message = f"{model.name} finds pauses by a detector of its own: leave '{name}' out"
            raise unsupported_request(message, "chunking_strategy")
    elif strategy not in (None, "auto"):
        message = f"{model.name} cuts long audio by its own rule, which 'auto' is"
        raise unsupported_request(message, "chunking_strategy")


def _strategy(fields: FormFields) -> tuple[str | None, list[str]]:
    """Return the type of the strategy that is asked for, and the names of its settings."""
    text, keys = fields.text("chunking_strategy"), fields.keys("chunking_strategy")
    if text and text.startswith("{"):
        try:
            keys = json.loads(text)
        except (ValueError, RecursionError):
            raise bad_request(
                "'chunking_strategy' is no JSON object", "chunking_strategy"
            ) from None
    if not keys:
        return text, []
    return str(keys.get("type", "")), [name for name in keys if name != "type"]


def _options(fields: FormFields) -> dict[str, Any]:
    found = {
        "temperature": fields.number("temperature", 0, 1),
        "seed": fields.whole("seed", 0, 2**63 - 1),
        "max_tokens": fields.whole("max_tokens", 1, MOST_TOKENS),
    }
    return {name: value for name, value in found.items() if value is not None}


def _speech(
    model: ServedModel, graph: Graph, inputs: Mapping[str, str], options: Mapping[str, Any]
) -> SpeechTask:
    """Prepare the task; nothing of it is loaded or run."""
    try:
        speech = speech_task(model.bundle, graph.task, inputs, {})
    except ComposerError as error:
        raise api_error_of(error, LANGUAGE if LANGUAGE in inputs else "model") from None
    for name in options:
        if speech.option(name) is None:
            raise unsupported_request(f"{model.name} has no {name}", name)
    if not options:
        return speech
    assert speech.decoder is not None
    try:
        return speech_task(model.bundle, graph.task, inputs, {speech.decoder.name: options})
    except ComposerError as error:
        raise api_error_of(error, next(iter(options))) from None

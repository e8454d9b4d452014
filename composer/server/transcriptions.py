"""`/v1/audio/transcriptions` and `/v1/audio/translations`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from composer.core.errors import ComposerError
from composer.core.languages import NAMES, in_spelling_of
from composer.formats.audio.clip import Clip
from composer.jobs.output_format import output_format, to_milliseconds
from composer.jobs.output_formats.verbose_json import usage, verbose_object
from composer.jobs.spoken_stream import SpokenStream
from composer.jobs.token_logprobs import has_all_logprobs, token_logprobs
from composer.jobs.transcription import SpokenSegment, Transcription
from composer.jobs.words import word_json
from composer.server.errors import ApiError, api_error_of, bad_request, no_retry_error
from composer.server.events import (
    EventStream,
    encode_event,
    unless_client_leaves,
    with_first,
    within_seconds,
)
from composer.server.pool import Job
from composer.server.state import ServerState, state_of
from composer.server.transcription_request import TranscriptionRequest, read_transcription
from composer.server.uploads import UploadForm, read_form

Asked = TypeVar("Asked")
DELTA, END = "transcript.text.delta", "transcript.text.done"
PLAIN = {"srt": "srt", "vtt": "vtt", "text": "txt"}  # formats of the API by ours


async def transcriptions(request: Request) -> Response:
    """Transcribe the file of a form."""
    return await _answer(request, translate=False)


async def translations(request: Request) -> Response:
    """Translate the speech of a form's file into English text."""
    return await _answer(request, translate=True)


async def _answer(request: Request, translate: bool) -> Response:
    state = state_of(request)
    read = partial(read_transcription, state.models, translate=translate)
    asked, form, file = await received(request, read)
    try:
        run = RunningTranscription(state, asked, form, file)
    except BaseException:
        form.close()
        raise
    if asked.stream:
        return await run.stream(request)
    return _written(asked, await run.whole(request))


async def received(
    request: Request, read: Callable[[list[tuple[str, str]]], Asked]
) -> tuple[Asked, UploadForm, BinaryIO]:
    """Return what a form's fields ask for, as `read` reads them, the form and its file.

    Raise ApiError where there is no room, where a field is wrong, or where the file is missing; a
    wrong field before the file is refused before the file has come.
    """
    state = state_of(request)
    state.require_room()

    def check(fields: list[tuple[str, str]]) -> None:
        if any(name == "model" for name, _ in fields):  # the others may come after the file
            read(fields)

    state.uploads += 1
    try:
        form = await read_form(request, state.settings, check)
    finally:
        state.uploads -= 1
    try:
        asked = read(form.fields)
        if form.file is None:
            raise bad_request("'file' is missing: the audio", "file")
    except BaseException:
        form.close()
        raise
    return asked, form, form.file


@dataclass
class RunningTranscription:
    """A transcription in the pool; its file is closed at the end of the run."""

    state: ServerState
    asked: TranscriptionRequest
    form: UploadForm
    file: BinaryIO

    def __post_init__(self) -> None:
        self.job = self.state.submit(self._work, self.form.close)

    def _work(self, job: Job) -> Transcription:
        clip = Clip(self.file, max_seconds=self.state.settings.max_seconds)
        return transcribe_clip(job, self.asked, clip)

    async def whole(self, request: Request) -> Transcription:
        """Return the transcription."""
        seconds = self.state.settings.run_seconds
        wanted = within_seconds(seconds, self.job, self.job.finish())
        try:
            made: Transcription = await unless_client_leaves(request.receive, self.job, wanted)
        except ComposerError as error:
            raise api_error_of(error) from None
        self._count(made)
        return made

    def _count(self, made: Transcription) -> None:
        self.state.metrics.wait.observe(self.job.waited)
        self.state.metrics.record_transcription(self.asked.model.name, made)

    async def stream(self, request: Request) -> Response:
        """Return the events, once there is a first one: what fails before has a status."""
        events = self._events()
        seconds = self.state.settings.run_seconds
        wanted = within_seconds(seconds, self.job, anext(events))
        try:
            first = await unless_client_leaves(request.receive, self.job, wanted)
        except ComposerError as error:
            raise api_error_of(error) from None

        every = with_first(first, events)
        return EventStream(self.job, every, api_error, self.state.settings.keep_alive)

    async def _events(self) -> AsyncIterator[bytes]:
        first = True
        async for piece in self.job.pieces():
            if first:
                self.state.metrics.first.labels(self.asked.model.name).observe(self.job.age)
                first = False
            yield encode_event({"type": DELTA, "delta": piece}, DELTA)
        made: Transcription = self.job.result
        self._count(made)
        more = {"segments": [_segment(each) for each in made.segments]}
        more |= timed_words_json(self.asked, made)
        seconds = {"timings": {name: round(value, 6) for name, value in made.timings.items()}}
        whole = transcription_json(made, self.asked.logprobs)
        yield encode_event({"type": END, **whole, **more, **seconds}, END)


def _segment(each: SpokenSegment) -> dict[str, Any]:
    return {
        "start": to_milliseconds(each.start) / 1000,
        "end": to_milliseconds(each.end) / 1000,
        "text": each.text,
    }


def timed_words_json(asked: TranscriptionRequest, made: Transcription) -> dict[str, Any]:
    """Return the words with their times, where these were asked for."""
    if asked.aligner is None:
        return {}
    return {"words": [word_json(word) for word in made.words if word.start is not None]}


def transcribe_clip(job: Job, asked: TranscriptionRequest, clip: Clip) -> Transcription:
    """Transcribe a clip on a thread of the pool, emitting text as it becomes certain."""
    with SpokenStream(asked.speech, clip) as stream:
        job.on_stop(stream.stop)
        for piece in stream:
            job.emit(piece)
    job.require_wanted()
    made = stream.transcription
    assert made is not None
    if asked.aligner:
        made = asked.aligner.transcribed(made, replace(clip, channel=asked.speech.channel))
    return made


def api_error(error: Exception) -> ApiError:
    """Return what a run failed with as the API writes it."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ComposerError):
        return api_error_of(error)
    return no_retry_error(500, "the run failed", "internal_error")


def _warnings(made: Transcription) -> list[str]:
    """Return what is to be known of a transcription: a cut, a channel, an empty text."""
    found = list(made.notes)
    for part in made.segments:
        for reason in part.suspicious:
            found.append(f"suspicious at {part.start:.2f} to {part.end:.2f} s: {reason}")
    if made.cut_short:
        found.append(f"the text was cut after {made.cut_short.tokens} tokens: raise max_tokens")
    return found


def transcription_json(made: Transcription, logprobs: bool = False) -> dict[str, Any]:
    """Return the text, the tokens and the language as JSON, and the tokens' log-probabilities."""
    found: dict[str, Any] = {"text": made.text, "usage": usage(made)}
    if logprobs:
        found["logprobs"] = token_logprobs(made)
    code = in_spelling_of(made.language, "en") if made.language else ""
    if code in NAMES:
        found["languages"] = [{"code": code}]
    found_warnings = _warnings(made)
    if logprobs and not has_all_logprobs(made):
        found_warnings.append("logprobs are missing where the text is not the decoder's own")
    if found_warnings:
        found["warnings"] = found_warnings
    return found


def _written(asked: TranscriptionRequest, made: Transcription) -> Response:
    if asked.format in PLAIN:
        file = output_format(PLAIN[asked.format]).file
        assert file is not None
        text = file(made) or ""
        return PlainTextResponse(text)
    if asked.format == "verbose_json":
        return JSONResponse(verbose_object(made))
    return JSONResponse(transcription_json(made, asked.logprobs))

"""`/v1/audio/alignments`, which OpenAI's API does not have: when the words of a text are spoken."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from composer.core.errors import ComposerError
from composer.jobs.align import Alignment, alignment_json
from composer.jobs.aligner import LANGUAGE, Aligner, read_whole
from composer.server.errors import ApiError, api_error_of, bad_request
from composer.server.events import unless_client_leaves, within_seconds
from composer.server.fields import FormFields
from composer.server.pool import Job
from composer.server.served_models import ServedModels
from composer.server.state import state_of
from composer.server.transcriptions import received

TEXT, MODEL = "text", "model"


@dataclass(frozen=True)
class AlignmentRequest:
    """A text to align, and by what."""

    aligner: Aligner
    text: str
    language: str | None


async def alignments(request: Request) -> Response:
    """Align the text of a form to its file."""
    state = state_of(request)
    asked, form, file = await received(request, partial(read_alignment_request, state.models))

    def work(job: Job) -> Alignment:
        audio = read_whole(file, None, partial=False, max_seconds=state.settings.max_seconds)
        job.require_wanted()
        words = asked.aligner.words(audio, asked.text, asked.language)
        return Alignment(asked.text, words, audio.seconds, audio.notes)

    try:
        job = state.submit(work, form.close)
    except BaseException:
        form.close()
        raise
    wanted = within_seconds(state.settings.run_seconds, job, job.finish())
    try:
        made: Alignment = await unless_client_leaves(request.receive, job, wanted)
    except ComposerError as error:
        raise api_error_of(error) from None
    return JSONResponse(alignment_json(made))


def read_alignment_request(models: ServedModels, pairs: list[tuple[str, str]]) -> AlignmentRequest:
    """Read a form's fields; raise ApiError, which names the field, for the first that is wrong."""
    fields = FormFields(pairs)
    name, text, language = (fields.text(each) for each in (MODEL, TEXT, LANGUAGE))
    fields.refuse_unread()
    aligner = models[name].aligner if name else models.aligner
    if aligner is None:
        message = f"{name} is no aligner" if name else "no aligner is served"
        raise ApiError(404, message, param=MODEL, code="not_supported")
    if text is None:
        raise bad_request("'text' is missing: what is spoken in the file", TEXT)
    try:
        aligner.check(language)
        aligner.check(None, transcript=text)
    except ComposerError as error:
        param = LANGUAGE if error.problems[0].code == "R527" else TEXT
        raise api_error_of(error, param) from None
    return AlignmentRequest(aligner, text, language)

"""The items of a realtime session, one turn each, and their texts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from composer.formats.audio.clip import Clip
from composer.jobs.transcription import Transcription
from composer.server.errors import bad_request
from composer.server.events import within_seconds
from composer.server.pool import Job, JobStopped
from composer.server.realtime_session import error_event
from composer.server.state import ServerState
from composer.server.transcription_request import TranscriptionRequest
from composer.server.transcriptions import (
    api_error,
    timed_words_json,
    transcribe_clip,
    transcription_json,
)

OPEN_ITEMS = 8  # that are transcribed at once, of one session
AUDIO = "conversation.item.input_audio_transcription"


class SpokenItems:
    """The items of one session, whose events go to `send`."""

    def __init__(self, state: ServerState, send: Callable[..., None]) -> None:
        self.running: set[asyncio.Task[None]] = set()
        self._state = state
        self._send = send
        self._last: str | None = None

    def require_room(self) -> None:
        """Raise ApiError where too many are transcribed already."""
        if len(self.running) >= OPEN_ITEMS:
            raise bad_request(
                f"{OPEN_ITEMS} items are transcribed already", None, "rate_limit_exceeded"
            )

    def transcribe(self, item: str, asked: TranscriptionRequest, data: bytes) -> None:
        """Add an item, and transcribe its audio beside others."""
        before, self._last = self._last, item
        self._send("input_audio_buffer.committed", item_id=item, previous_item_id=before)
        content = {"type": "input_audio", "transcript": None}
        shown: dict[str, Any] = {"id": item, "object": "realtime.item", "type": "message"}
        shown |= {"role": "user", "status": "completed", "content": [content]}
        for kind in ("added", "done"):
            self._send(f"conversation.item.{kind}", item=shown, previous_item_id=before)
        task = asyncio.ensure_future(self._transcribe(item, asked, data))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _transcribe(self, item: str, asked: TranscriptionRequest, data: bytes) -> None:
        """Send the text of an item as it comes, and then all of it, or what it failed with."""
        at = {"item_id": item, "content_index": 0}
        clip = Clip(data, max_seconds=self._state.settings.max_seconds)
        job: Job | None = None

        async def pieces(job: Job) -> Transcription:
            async for piece in job.pieces():
                self._send(f"{AUDIO}.delta", **at, delta=piece)
            made: Transcription = job.result
            return made

        try:
            job = self._state.submit(lambda job: transcribe_clip(job, asked, clip), lambda: None)
            made = await within_seconds(self._state.settings.run_seconds, job, pieces(job))
        except JobStopped:
            return
        except Exception as error:
            found = api_error(error)
            self._state.metrics.errors.labels(found.code or found.kind).inc()
            self._send(f"{AUDIO}.failed", **at, error=error_event(found))
        else:
            self._state.metrics.record_transcription(asked.model.name, made)
            made_json = transcription_json(made, asked.logprobs)
            made_json |= timed_words_json(asked, made)
            text = made_json.pop("text")
            self._send(f"{AUDIO}.completed", **at, transcript=text, **made_json)
        finally:
            if job:
                job.cancel()

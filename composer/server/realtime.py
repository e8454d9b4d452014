"""`/v1/realtime`: transcribe what a client sends over a WebSocket, turn by turn."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from composer.formats.audio.clip import Clip
from composer.jobs.transcription import Transcription
from composer.server.errors import ApiError, bad_request, unsupported_request
from composer.server.events import within_seconds
from composer.server.middleware import require_key, require_same_origin
from composer.server.pool import Job, JobStopped
from composer.server.realtime_session import AudioBuffer, SessionSettings, error_event
from composer.server.state import ServerState, busy_error, state_of
from composer.server.transcription_request import TranscriptionRequest
from composer.server.transcriptions import (
    api_error,
    timed_words_json,
    transcribe_clip,
    transcription_json,
)

KEY = "openai-insecure-api-key."  # a subprotocol: a browser cannot set headers
PROTOCOL = "realtime"
WAITING = 256  # events that a client has not read yet
OPEN_ITEMS = 8  # that are transcribed at once, of one session
AUDIO = "conversation.item.input_audio_transcription"
TRY_LATER, IDLE = 1013, 1001


async def realtime(socket: WebSocket) -> None:
    """Take a session; what is wrong about its request is answered before it begins."""
    state = state_of(socket)
    try:
        settings = _admitted(socket, state)
    except ApiError as error:
        await socket.send_denial_response(error.response())
        return
    offered = socket.scope.get("subprotocols", ())
    await socket.accept(PROTOCOL if PROTOCOL in offered else None)
    state.sessions += 1
    session = _Session(socket, state, settings)
    try:
        await session.run()
    finally:
        state.sessions -= 1


def _admitted(socket: WebSocket, state: ServerState) -> SessionSettings:
    """Return the settings that a session begins with; raise ApiError."""
    key = next((p[len(KEY) :] for p in socket.scope["subprotocols"] if p.startswith(KEY)), None)
    require_same_origin(socket)
    require_key(socket, state.settings.api_key, key)
    state.require_room()
    if state.sessions >= state.settings.sessions:
        raise busy_error(state.pool.retry_after)
    intent = socket.query_params.get("intent", "transcription")
    if intent != "transcription":
        raise unsupported_request(
            "sessions of this server transcribe: intent=transcription", "intent"
        )
    names = state.models.names
    model = socket.query_params.get("model") or (names[0] if len(names) == 1 else None)
    if model is None:
        return SessionSettings()
    assert state.models[model]
    return SessionSettings(fields=(("model", model),))


class _Session:
    """One connection: its settings, its audio, and the items that are transcribed."""

    def __init__(self, socket: WebSocket, state: ServerState, settings: SessionSettings) -> None:
        self._socket = socket
        self._state = state
        self._settings = settings
        self._buffer = AudioBuffer(state.settings.max_seconds)
        self._name = f"sess_{uuid.uuid4().hex[:24]}"
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue(WAITING)
        self._items: set[asyncio.Task[None]] = set()
        self._last: str | None = None
        self._slow = asyncio.Event()

    async def run(self) -> None:
        """Answer events until the client leaves, does nothing for long, or reads too slowly."""
        self._send("session.created", session=self._shown())
        running = (self._read(), self._write(), self._slow.wait())
        tasks: list[asyncio.Task[Any]] = [asyncio.ensure_future(each) for each in running]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            with suppress(WebSocketDisconnect, RuntimeError, OSError):
                for task in tasks:
                    if task.done() and not task.cancelled():
                        task.result()
                await self._socket.close(TRY_LATER if self._slow.is_set() else IDLE)
        finally:
            for task in (*tasks, *self._items):
                task.cancel()
            await asyncio.gather(*tasks, *self._items, return_exceptions=True)

    async def _read(self) -> None:
        """Read events until none comes for long while nothing is transcribed."""
        while True:
            try:
                async with asyncio.timeout(self._state.settings.session_idle):
                    text = await self._socket.receive_text()
            except TimeoutError:
                if self._items:
                    continue
                return
            except KeyError:
                text = ""  # bytes
            self._handle(text)

    async def _write(self) -> None:
        while True:
            await self._socket.send_json(await self._outgoing.get())

    def _send(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": f"event_{uuid.uuid4().hex[:20]}", **fields}
        try:
            self._outgoing.put_nowait(event)
        except asyncio.QueueFull:
            self._slow.set()

    def _handle(self, text: str) -> None:
        """Answer one event; what is wrong about it is an event, and the session goes on."""
        identity = None
        try:
            event = _event(text)
            identity = event.get("event_id")
            kind = event.get("type")
            if kind == "session.update":
                self._settings = self._updated(event.get("session"))
                self._send("session.updated", session=self._shown())
            elif kind == "input_audio_buffer.append":
                self._buffer.append(event.get("audio"), self._settings)
            elif kind == "input_audio_buffer.clear":
                self._buffer.data.clear()
                self._send("input_audio_buffer.cleared")
            elif kind == "input_audio_buffer.commit":
                self._commit()
            else:
                raise bad_request(
                    f"there is no event '{kind}' in a session that transcribes", "type"
                )
        except ApiError as error:
            known = identity if isinstance(identity, str) else None
            self._send("error", error={**error_event(error), "event_id": known})

    def _updated(self, given: Any) -> SessionSettings:
        found = self._settings.updated(given, self._state.models)
        same = (found.kind, found.rate) == (self._settings.kind, self._settings.rate)
        if self._buffer.data and not same:
            message = "the format cannot change while audio is not committed"
            raise bad_request(message, "session.audio.input.format")
        return found

    def _shown(self) -> dict[str, Any]:
        return {"id": self._name, **self._settings.shown()}

    def _commit(self) -> None:
        """Make an item of the buffer, and transcribe it beside others."""
        if len(self._items) >= OPEN_ITEMS:
            raise bad_request(
                f"{OPEN_ITEMS} items are transcribed already", None, "rate_limit_exceeded"
            )
        asked = self._settings.request(self._state.models)
        data = self._buffer.take(self._settings)
        item, before = f"item_{uuid.uuid4().hex[:20]}", self._last
        self._last = item
        self._send("input_audio_buffer.committed", item_id=item, previous_item_id=before)
        content = {"type": "input_audio", "transcript": None}
        shown: dict[str, Any] = {"id": item, "object": "realtime.item", "type": "message"}
        shown |= {"role": "user", "status": "completed", "content": [content]}
        for kind in ("added", "done"):
            self._send(f"conversation.item.{kind}", item=shown, previous_item_id=before)
        task = asyncio.ensure_future(self._transcribe(item, asked, data))
        self._items.add(task)
        task.add_done_callback(self._items.discard)

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


def _event(text: str) -> dict[str, Any]:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise bad_request("an event is a JSON object, sent as text", None)
    return event

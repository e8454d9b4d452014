"""`/v1/realtime`: transcribe what a client sends over a WebSocket, turn by turn."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from composer.core.errors import ComposerError
from composer.runtime.speech_scores import Detector
from composer.server.errors import ApiError, bad_request, unsupported_request
from composer.server.middleware import require_key, require_same_origin
from composer.server.realtime_audio import AudioBuffer
from composer.server.realtime_items import SpokenItems
from composer.server.realtime_session import AT, SessionSettings, error_event
from composer.server.state import ServerState, busy_error, state_of
from composer.server.transcriptions import api_error
from composer.server.turns import TurnFinder

KEY = "openai-insecure-api-key."  # a subprotocol: a browser cannot set headers
PROTOCOL = "realtime"
WAITING = 256  # events that a client has not read yet
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
        self._turns: TurnFinder | None = None
        self._turn = ""  # the item of the turn that has begun
        self._name = f"sess_{uuid.uuid4().hex[:24]}"
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue(WAITING)
        self._items = SpokenItems(state, self._send)
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
            tasks += self._items.running
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        """Read events until none comes for long while nothing is transcribed."""
        while True:
            try:
                async with asyncio.timeout(self._state.settings.session_idle):
                    text = await self._socket.receive_text()
            except TimeoutError:
                if self._items.running:
                    continue
                return
            except KeyError:
                text = ""  # bytes
            if self._handle(text):
                await self._find_turns()

    async def _write(self) -> None:
        while True:
            await self._socket.send_json(await self._outgoing.get())

    def _send(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": f"event_{uuid.uuid4().hex[:20]}", **fields}
        try:
            self._outgoing.put_nowait(event)
        except asyncio.QueueFull:
            self._slow.set()

    def _handle(self, text: str) -> bool:
        """Answer one event; return whether there is audio in which turns are to be found.

        What is wrong about it is an event, and the session goes on.
        """
        identity = None
        try:
            event = _event(text)
            identity = event.get("event_id")
            kind = event.get("type")
            if kind == "session.update":
                self._update(event.get("session"))
                self._send("session.updated", session=self._shown())
            elif kind == "input_audio_buffer.append":
                data = self._buffer.append(event.get("audio"), self._settings.format)
                return self._turns is not None and self._turns.add(data)
            elif kind == "input_audio_buffer.clear":
                self._buffer.drop(self._settings.format)
                self._begin_turns()
                self._send("input_audio_buffer.cleared")
            elif kind == "input_audio_buffer.commit":
                self._commit()
                self._begin_turns()
            else:
                raise bad_request(
                    f"there is no event '{kind}' in a session that transcribes", "type"
                )
        except ApiError as error:
            known = identity if isinstance(identity, str) else None
            self._send_error(error, known)
        return False

    def _send_error(self, error: ApiError, event: str | None = None) -> None:
        self._send("error", error={**error_event(error), "event_id": event})

    def _update(self, given: Any) -> None:
        found, had = self._settings.updated(given, self._state.models), self._settings
        waits = self._buffer.data and (self._turns is None or self._turns.speaking)
        for name, same in (
            ("format", found.format == had.format),
            ("turn_detection", found.turns == had.turns),
        ):
            if waits and not same:
                message = f"the {name} cannot change while audio is not committed"
                raise bad_request(message, f"{AT}.{name}")
        if found.turns and self._detector(found) is None:
            message = "this model names nothing that detects speech: commit what was said"
            raise unsupported_request(message, f"{AT}.turn_detection")
        self._settings = found
        if not waits:
            self._buffer.drop(had.format)
            self._buffer.start = self._buffer.start * found.format.rate // had.format.rate
            self._begin_turns()

    def _detector(self, settings: SessionSettings) -> Detector | None:
        speech = settings.request(self._state.models).speech
        return speech.bundle.speech_detector(speech.graph.task)

    def _begin_turns(self) -> None:
        """Find turns from here on, where they are to be found."""
        self._turns = None
        if self._settings.turns and (detector := self._detector(self._settings)):
            start = self._buffer.start
            self._turns = TurnFinder(self._settings.turns, detector, self._settings.format, start)

    async def _find_turns(self) -> None:
        """Say where turns begin and end in what has come, and transcribe those that have ended."""
        turns, format = self._turns, self._settings.format
        assert turns is not None
        try:
            edges = await asyncio.to_thread(turns.look)
        except ComposerError as error:
            self._send_error(api_error(error))
            return
        for edge in edges:
            at = round(1000 * edge.sample / format.rate)
            if edge.begins:
                self._buffer.drop(format, edge.sample)
                self._turn = _new_item()
                at = round(1000 * self._buffer.start / format.rate)
                self._send(
                    "input_audio_buffer.speech_started", item_id=self._turn, audio_start_ms=at
                )
            else:
                self._send("input_audio_buffer.speech_stopped", item_id=self._turn, audio_end_ms=at)
                try:
                    self._commit(self._turn, edge.sample)
                except ApiError as error:
                    self._send_error(error)
        if not turns.speaking:
            self._buffer.drop(format, turns.first_needed)

    def _shown(self) -> dict[str, Any]:
        return {"id": self._name, **self._settings.shown()}

    def _commit(self, item: str | None = None, end: int | None = None) -> None:
        """Make an item of the buffer, up to a sample, and transcribe it beside others."""
        self._items.require_room()
        asked = self._settings.request(self._state.models)
        data = self._buffer.take(self._settings.format, end)
        if item is None:
            item = self._turn if self._turns and self._turns.speaking else _new_item()
        self._items.transcribe(item, asked, data)


def _new_item() -> str:
    return f"item_{uuid.uuid4().hex[:20]}"


def _event(text: str) -> dict[str, Any]:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise bad_request("an event is a JSON object, sent as text", None)
    return event

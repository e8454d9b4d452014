"""`/v1/chat/completions`."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from composer.core.errors import ComposerError
from composer.runtime.result import Result
from composer.server.chat_request import ChatRequest, read_chat
from composer.server.errors import api_error_of
from composer.server.events import (
    EventStream,
    encode_event,
    unless_client_leaves,
    with_first,
    within_seconds,
)
from composer.server.pool import Job
from composer.server.state import ServerState, state_of
from composer.server.transcriptions import api_error
from composer.server.uploads import body

IN_BASE64 = 1.4  # of the bytes that are decoded


async def chat_completions(request: Request) -> Response:
    """Answer the last of several messages."""
    state = state_of(request)
    state.require_room()
    limit = int(state.settings.max_upload * IN_BASE64)
    state.uploads += 1
    try:
        data = b"".join([piece async for piece in body(request, limit, state.settings)])
    finally:
        state.uploads -= 1
    asked = await run_in_threadpool(read_chat, state.models, data, state.settings)
    run = _Running(state, asked)
    del data
    return await (run.stream(request) if run.asked.stream else run.whole(request))


@dataclass
class _Running:
    """A completion in the pool."""

    state: ServerState
    asked: ChatRequest
    name: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.job = self.state.submit(self._work, lambda: None)

    def _work(self, job: Job) -> tuple[str, Result]:
        with self.asked.question.stream() as stream:
            job.on_stop(stream.stop)
            for piece in stream:
                job.emit(piece)
        job.require_wanted()
        assert stream.result is not None
        return str(stream.result.outputs[self.asked.question.text]), stream.result

    async def whole(self, request: Request) -> Response:
        """Return the answer."""
        wanted = within_seconds(self.state.settings.run_seconds, self.job, self.job.finish())
        try:
            text, result = await unless_client_leaves(request.receive, self.job, wanted)
        except ComposerError as error:
            raise api_error_of(error, "messages") from None
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"message": message, "finish_reason": _reason(result), "logprobs": None}
        made = self._object("chat.completion", [{"index": 0, **choice}])
        return JSONResponse({**made, "usage": self._usage(result)})

    async def stream(self, request: Request) -> Response:
        """Return the chunks, once there is a first one: what fails before has a status."""
        chunks = self._chunks()
        wanted = within_seconds(self.state.settings.run_seconds, self.job, anext(chunks))
        try:
            first = await unless_client_leaves(request.receive, self.job, wanted)
        except ComposerError as error:
            raise api_error_of(error, "messages") from None
        every = with_first(first, chunks)
        return EventStream(self.job, every, api_error, self.state.settings.keep_alive)

    async def _chunks(self) -> AsyncIterator[bytes]:
        role: dict[str, str] = {"role": "assistant"}
        async for piece in self.job.pieces():
            if role:
                self.state.metrics.first.labels(self.asked.model.name).observe(self.job.age)
            yield self._chunk({**role, "content": piece})
            role = {}
        _, result = self.job.result
        yield self._chunk(role, _reason(result))
        usage = self._usage(result)
        if self.asked.usage:
            yield encode_event({**self._object("chat.completion.chunk", []), "usage": usage})
        yield encode_event("[DONE]")

    def _chunk(self, delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return encode_event(self._object("chat.completion.chunk", [choice]))

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        named = {"id": self.name, "object": kind, "created": self.created}
        return {**named, "model": self.asked.model.name, "choices": choices}

    def _usage(self, result: Result) -> dict[str, int]:
        read, written = result.prompt_tokens, result.tokens
        self.state.metrics.wait.observe(self.job.waited)
        self.state.metrics.record_tokens(self.asked.model.name, read, written)
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        }


def _reason(result: Result) -> str:
    return "length" if result.finish_reason == "length" else "stop"

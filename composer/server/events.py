"""Answer with server-sent events, or wait for one answer, while the client is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from composer.server.errors import ApiError, no_retry_error
from composer.server.pool import Job

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
KEEP_ALIVE = b": keep-alive\n\n"
Answer = TypeVar("Answer")


class ClientGone(Exception):
    """The client left."""


def encode_event(data: Any, name: str | None = None) -> bytes:
    """Return one event, whose data is JSON or `[DONE]`."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    lead = f"event: {name}\n" if name else ""
    return f"{lead}data: {text}\n\n".encode()


async def wait_for_disconnect(receive: Receive) -> None:
    """Return once the client is gone; its body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_client_leaves(receive: Receive, job: Job, wanted: Awaitable[Answer]) -> Answer:
    """Return what is awaited of a job; give the job up and raise Gone where the client leaves."""
    task = asyncio.ensure_future(wanted)
    gone = asyncio.ensure_future(wait_for_disconnect(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        gone.cancel()
        if not task.done():
            job.cancel()
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def within_seconds(seconds: float, job: Job, wanted: Awaitable[Answer]) -> Answer:
    """Return what is awaited of a job; raise ApiError 503 and give it up after some time."""
    try:
        async with asyncio.timeout(seconds):
            return await wanted
    except TimeoutError:
        job.cancel()
        raise no_retry_error(503, f"the run took longer than {seconds:g} s", "timeout") from None


async def with_first(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield one that was taken already, and then the others."""
    yield first
    async for each in others:
        yield each


class EventStream(Response):
    """Events of a job; the job is given up when the client leaves.

    `events` yields them encoded; what it raises becomes the last event, by `failure`.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        job: Job,
        events: AsyncIterator[bytes],
        failure: Callable[[Exception], ApiError],
        keep_alive: float,
    ) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._job = job
        self._events = events
        self._failure = failure
        self._keep_alive = keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(wait_for_disconnect(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, gone):
                if not task.done():
                    task.cancel()
                    with suppress(asyncio.CancelledError, Exception):
                        await task
            self._job.cancel()

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async for piece in self._pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pieces(self) -> AsyncIterator[bytes]:
        """Yield the events, with comments between them where nothing comes for long."""
        following: asyncio.Future[bytes] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(self._events))
                done, _ = await asyncio.wait((following,), timeout=self._keep_alive)
                if not done:
                    yield KEEP_ALIVE
                    continue
                piece, following = following.result(), None
                yield piece
        except StopAsyncIteration:
            return
        except Exception as error:
            yield encode_event(self._failure(error).body())
        finally:
            if following:
                following.cancel()

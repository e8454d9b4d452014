"""What all requests of a server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from composer.server.errors import SERVER, ApiError
from composer.server.metrics import Metrics
from composer.server.pool import Job, Pool, QueueFull, Work
from composer.server.served_models import ServedModels
from composer.server.settings import ServerSettings


@dataclass
class ServerState:
    """The models, the pool that runs jobs, the limits, what is counted; whether it is stopping."""

    models: ServedModels
    settings: ServerSettings
    pool: Pool
    metrics: Metrics
    stopping: bool = False
    uploads: int = 0
    sessions: int = field(default=0)

    def require_room(self) -> None:
        """Raise ApiError where a request would not be taken, before its body is read."""
        if self.stopping:
            raise ApiError(
                503, "the server is stopping", code="stopping", kind=SERVER,
                headers={"retry-after": "5"},
            )  # fmt: skip
        try:
            self.pool.require_room()
        except QueueFull as full:
            raise busy_error(full.seconds) from None
        if self.uploads >= self.settings.uploads:
            raise busy_error(self.pool.retry_after)

    def submit(self, work: Work, close: Callable[[], None]) -> Job:
        """Return the job that will run `work`; raise ApiError 429 where the queue is full.

        `close` is called once it has run, or will not run any more; not where it is refused.
        """
        try:
            return self.pool.submit(work, close)
        except QueueFull as full:
            raise busy_error(full.seconds) from None


def busy_error(seconds: int) -> ApiError:
    """Return the refusal of a server that has enough to do."""
    message = f"the server has as many requests as it takes; try again in {seconds} s"
    headers = {"retry-after": str(seconds)}
    code = "rate_limit_exceeded"
    return ApiError(429, message, code=code, kind="requests", headers=headers)


def state_of(connection: HTTPConnection) -> ServerState:
    """Return the state of the server that a request came to."""
    state: ServerState = connection.app.state.composer
    return state

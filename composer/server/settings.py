"""What a server allows its clients."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class ServerSettings:
    """The limits of a server, of sizes in bytes and of times in seconds.

    `runs` requests run at once and `queue` more wait; the next is answered 429. An upload of more
    than `max_upload` bytes is refused as soon as that is known, audio of more than `max_seconds`
    while it is decoded. A body whose first `body_grace` seconds are over must have come at
    `body_rate` bytes a second, and a pause of `body_pause` ends it. After `run_seconds` in the
    queue and running a request is given up. A stop waits `stop_seconds` for requests that run.
    """

    runs: int = 2
    queue: int = 16
    uploads: int = 64
    max_upload: int = 100 * MEGABYTE
    max_seconds: float = 1800.0
    body_grace: float = 10.0
    body_rate: int = 8192
    body_pause: float = 20.0
    run_seconds: float = 600.0
    stop_seconds: float = 30.0
    keep_alive: float = 10.0
    api_key: str | None = None
    sessions: int = 8
    session_idle: float = 300.0
    max_frame: int = 24 * MEGABYTE

"""Time an evaluation over its sessions, interrupted ones included."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import append_text, unwritable
from composer.core.safe_read import RESULTS, read_whole
from composer.core.safe_write import write_whole


@dataclass(frozen=True)
class Speed:
    """Seconds of audio that were transcribed and of wall time for it, over all sessions.

    This includes reading and resampling the clips, but not loading the bundle.
    """

    audio: float
    wall: float
    sessions: int
    jobs: tuple[int, ...]

    @property
    def rtf(self) -> float | None:
        """Return the real-time factor, wall time over audio: below 1 is faster than real time."""
        if not self.audio:
            return None
        return self.wall / self.audio


@dataclass(frozen=True)
class ClipTiming:
    """A finished clip: its seconds of audio, and the elapsed time of its session."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    session: int
    jobs: int
    audio: float
    at: float


_LAP = TypeAdapter(ClipTiming)


class Clock:
    """Records the elapsed time after each clip, in a file beside the results."""

    def __init__(self, path: Path | None, jobs: int) -> None:
        self.path = path
        self.jobs = jobs
        self.rows = _rows(path) if path else []
        self.session = 1 + max((row.session for row in self.rows), default=0)
        self.began = time.perf_counter()

    def start(self) -> None:
        """Start the clock."""
        self.began = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Return the seconds since the clock was started."""
        return time.perf_counter() - self.began

    def lap(self, seconds: float | None) -> None:
        """Record that a clip of so many seconds is finished."""
        at = round(self.elapsed, 6)
        row = ClipTiming(self.session, self.jobs, seconds or 0.0, at)
        self.rows.append(row)
        if self.path:
            append_text(self.path, json.dumps(asdict(row)) + "\n")

    def speed(self) -> Speed:
        """Return the speed over all sessions."""
        walls: dict[int, float] = {}
        for row in self.rows:
            walls[row.session] = max(walls.get(row.session, 0.0), row.at)
        jobs = tuple(sorted({row.jobs for row in self.rows}))
        return Speed(sum(row.audio for row in self.rows), sum(walls.values()), len(walls), jobs)


def _rows(path: Path) -> list[ClipTiming]:
    """Return the laps of earlier sessions; a truncated line counts as not finished."""
    try:
        data = read_whole(path, RESULTS)
        complete = data[: data.rfind(b"\n") + 1]
        if complete != data:
            write_whole(path, complete)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unwritable(path, error) from None
    rows = []
    for number, line in enumerate(complete.splitlines(), 1):
        try:
            rows.append(_LAP.validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            message = f"this is no lap of the clock: {first['msg']}"
            hint = "delete the line: the time of its clip is then not counted"
            place = Place(str(path), number)
            raise ComposerError(Problem("R571", message, place, hint=hint)) from None
    return rows

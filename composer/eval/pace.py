"""Time an evaluation over its sessions, so that one that was killed still tells its speed."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Speed:
    """Seconds of audio that were heard and of wall time that this took, over all sessions.

    Reading and resampling the clips is in it, loading the bundle is not.
    """

    audio: float
    wall: float
    sessions: int
    jobs: tuple[int, ...]

    @property
    def rtf(self) -> float | None:
        """Return the real-time factor, wall time over audio: below 1 is faster than real time."""
        return self.wall / self.audio if self.audio else None


class Clock:
    """Notes after each clip how long the session has run; a file keeps them beside the results."""

    def __init__(self, path: Path | None, jobs: int) -> None:
        self.path = path
        self.jobs = jobs
        self.rows = _rows(path) if path else []
        self.session = 1 + max((row["session"] for row in self.rows), default=0)
        self.began = time.perf_counter()

    def start(self) -> None:
        """Begin to count."""
        self.began = time.perf_counter()

    def lap(self, seconds: float | None) -> None:
        """Note that a clip of so many seconds is done."""
        row = {
            "session": self.session,
            "jobs": self.jobs,
            "audio": seconds or 0.0,
            "at": round(time.perf_counter() - self.began, 6),
        }
        self.rows.append(row)
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def speed(self) -> Speed:
        """Return the speed over all sessions."""
        walls: dict[int, float] = {}
        for row in self.rows:
            walls[row["session"]] = max(walls.get(row["session"], 0.0), row["at"])
        jobs = tuple(sorted({row["jobs"] for row in self.rows}))
        return Speed(sum(row["audio"] for row in self.rows), sum(walls.values()), len(walls), jobs)


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the laps of earlier sessions; a line that was cut off is one that was not done."""
    if not path.exists():
        return []
    rows = []
    text = path.read_text("utf-8")
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        path.write_text(text, "utf-8")
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.keys() == {"session", "jobs", "audio", "at"}:
            rows.append(row)
    return rows

"""The account of a corpus that was run: clips in, rows out, failures, and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from composer.corpus.shards import Shards
from composer.evaluation.timing import Speed


@dataclass(frozen=True)
class BatchSummary:
    """What a corpus became, as its files have it, and how long that took.

    `errors` counts failed clips by the code of their first problem. `speed` is over all runs that
    wrote the folder, without loading; `restarts` are those of workers in this run.
    """

    clips: int
    rows: int
    failed: int
    errors: Mapping[str, int]
    speed: Speed
    audio_seconds: float
    shards: int
    restarts: int
    folder: str

    def as_json(self) -> dict[str, Any]:
        """Return the account in JSON's types."""
        return {
            "clips": self.clips,
            "rows": self.rows,
            "failed": self.failed,
            "errors": dict(self.errors),
            "shards": self.shards,
            "audio_seconds": round(self.audio_seconds, 3),
            "wall_seconds": round(self.speed.wall, 3),
            "rtf": self.rtf and round(self.rtf, 6),
            "runs": self.speed.sessions,
            "in_flight": list(self.speed.jobs),
            "restarts": self.restarts,
        }

    @property
    def rtf(self) -> float | None:
        """Return the real-time factor, wall time over audio."""
        return self.speed.wall / self.audio_seconds if self.audio_seconds else None

    def as_text(self) -> str:
        """Return the account as people read it."""
        shards, runs = _count(self.shards, "shard"), _count(self.speed.sessions, "run")
        lines = [
            f"clips     {self.clips} in, {self.rows} rows out, in {shards} of {self.folder}",
            f"failed    {self.failed}{self._codes()}",
            f"audio     {self.audio_seconds:.1f} s, in {self.speed.wall:.1f} s of wall time over "
            f"{runs}",
        ]
        if self.rtf:
            times = f"{1 / self.rtf:.3g} times as fast as the audio"
            lines.append(f"speed     {self.rtf:.3g}, the real-time factor: {times}")
        if self.restarts:
            lines.append(f"restarts  {self.restarts} of workers that ended")
        return "\n".join(lines)

    def _codes(self) -> str:
        found = [f"{code} {count}" for code, count in self.errors.items()]
        return f": {', '.join(found)}" if found else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def account_of(shards: Shards, speed: Speed, restarts: int) -> BatchSummary:
    """Count what the files of a folder have, once all of its shards are complete."""
    rows, seconds, codes = 0, 0.0, Counter[str]()
    for _, found in shards.read():
        rows += len(found)
        seconds += sum(row.duration or 0.0 for row in found)
        codes.update(row.codes[0] for row in found if row.codes)
    return BatchSummary(
        len(shards.ids),
        rows,
        codes.total(),
        dict(sorted(codes.items())),
        speed,
        seconds,
        shards.count,
        restarts,
        str(shards.folder),
    )

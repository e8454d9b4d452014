"""Report how far a job is, by callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal[
    "checking",
    "fetching",
    "loading",
    "resuming",
    "running",
    "transcribing",
    "evaluating",
    "measuring",
    "comparing",
    "hashing",
    "quantizing",
    "uploading",
]


@dataclass(frozen=True)
class JobProgress:
    """How far a job is: `done` of `total` steps of a stage, on what it works.

    `total` is None where the steps of a stage cannot be counted. `speed` is how fast it is, as
    people read it, where the stage says so.
    """

    stage: Stage
    subject: str = ""
    done: int = 0
    total: int | None = None
    speed: str = ""


OnProgress = Callable[[JobProgress], None]


def no_progress(_: JobProgress) -> None:
    """Report to nobody."""

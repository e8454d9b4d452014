"""What a job made of one clip of a corpus: a line of its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from composer.core.errors import ComposerError
from composer.core.journal import JournalFormat
from composer.core.output import problem_json


@dataclass(frozen=True)
class Row:
    """The transcript of one clip, or the problems that it failed with, in JSON's types.

    `sha256` is that of the clip's bytes, `duration` its length in seconds; all else is as `composer
    transcribe` writes it. No time of the run is in it, so that every run gives the same row.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    id: str
    sha256: str | None = None
    text: str | None = None
    language: str | None = None
    duration: float | None = None
    finish_reason: str | None = None
    tokens: int | None = None
    notes: list[str] | None = None
    coverage: dict[str, float] | None = None
    segments: list[dict[str, Any]] | None = None
    outputs: dict[str, Any] | None = None
    error: list[dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.error is None):
            raise ValueError("there is to be either a text or an error")

    @property
    def codes(self) -> list[str]:
        """Return the codes of the problems that the clip failed with."""
        return [str(problem["code"]) for problem in self.error or ()]


ROWS = JournalFormat("batch", 1, Row, always=("sha256",))


def failed_row(id: str, error: ComposerError, sha256: str | None = None) -> Row:
    """Return the row of a clip that failed."""
    problems = []
    for problem in error.problems:
        entry = problem_json(problem)
        problems.append({key: _written(value) for key, value in entry.items()})
    return Row(id, sha256, error=problems)


def _written(value: Any) -> Any:
    """Return a value whose texts can be written: names of files may have half a character."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_written(each) for each in value]
    return value

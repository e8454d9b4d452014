"""Save transcripts, a line per utterance, so that an interrupted evaluation can resume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from composer.core import journal


@dataclass(frozen=True)
class Transcript:
    """The result for one clip: the bundle's hypothesis, or the problems it failed with.

    `sha256` is that of the clip's file, `seconds` its length; `finish_reason` and `tokens` are the
    decoder's. `notes` say how far a recording that was cut short was read, and which channel,
    `suspicious` why not to trust the text. `words` are those of the hypothesis with their times in
    the clip, where it was aligned.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    id: str
    sha256: str | None
    seconds: float | None
    reference: str
    hypothesis: str | None = None
    finish_reason: str | None = None
    tokens: int | None = None
    error: list[dict[str, Any]] | None = None
    notes: list[str] | None = None
    suspicious: list[str] | None = None
    words: list[dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        if (self.hypothesis is None) == (self.error is None):
            raise ValueError("there is to be either a hypothesis or an error")


FORMAT = journal.JournalFormat("evaluation", 1, Transcript, always=("sha256", "seconds"))


@dataclass(frozen=True)
class ResultsFile:
    """A file of transcripts: its provenance, its lines by id, and the bytes of complete lines."""

    made_by: Mapping[str, Any]
    transcripts: Mapping[str, Transcript]
    complete: int


def read_results(path: Path) -> ResultsFile:
    """Read a file of results except for a truncated last line; raise R571 if it is not one."""
    found = journal.read_journal(path, FORMAT)
    return ResultsFile(found.made_by, found.rows, found.complete)


class Journal(journal.Journal[Transcript]):
    """A file of transcripts that grows, and is in the data's order at the end."""

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        """Open the file as any journal; raise R570, R571 or R576."""
        super().__init__(path, made_by, FORMAT)

    @property
    def transcripts(self) -> dict[str, Transcript]:
        """Return the transcripts by id."""
        return self.rows

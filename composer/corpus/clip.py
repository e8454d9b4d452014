"""One clip of a corpus."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from composer.evaluation.clip_part import ClipPart
from composer.evaluation.utterance import Utterance

ID = "id"  # the field of the data that names a clip


@dataclass(frozen=True)
class ParquetCell:
    """The bytes of an audio file in a row of a Parquet file; rows count from 0."""

    path: Path
    column: str
    row: int


@dataclass(frozen=True)
class CorpusClip:
    """A clip by its id, which no other of the corpus has, and where its audio is.

    A worker is given a path or the bytes of a file.
    """

    id: str
    audio: Path | bytes | ParquetCell
    part: ClipPart = field(default_factory=ClipPart)


def clip_of(utterance: Utterance) -> CorpusClip:
    """Return the clip of a line, called by the line's `id` where it has one."""
    name = utterance.fields.get(ID) or utterance.id
    return CorpusClip(name, utterance.path, ClipPart(utterance.offset, utterance.duration))

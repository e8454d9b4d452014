"""Parquet files of clips and of rows, by pyarrow: an extra, imported only where it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.corpus.clip import ID, CorpusClip, ParquetCell, clip_of
from composer.corpus.packages import require_package
from composer.evaluation.tables import AUDIO, read_lines, unreadable

PARQUET = ".parquet"
BATCH = 16  # rows of audio in memory at once
MOST_ROWS = 10_000_000  # of a file
FIELDS = (ID, "offset", "duration")


def import_pyarrow(module: str = "parquet") -> Any:
    """Return a module of pyarrow; raise R585 where it is not installed."""
    require_package("pyarrow", "batch", "Parquet")
    return require_package(f"pyarrow.{module}", "batch", "Parquet")


@dataclass(frozen=True)
class _Column:
    """A column that may have audio: paths, bytes, or both as Hugging Face's `Audio` has them."""

    name: str
    has_paths: bool
    has_bytes: bool

    @property
    def light(self) -> list[str]:
        """Return what is read of it without its audio."""
        if not self.has_bytes:
            return [self.name]
        return [f"{self.name}.path"] if self.has_paths else []


def read_parquet(path: Path) -> tuple[list[CorpusClip], list[Problem]]:
    """Return the clips of a Parquet file and the problems of its rows; no audio is read.

    Raise R580 where it is no such file, R585 without pyarrow.
    """
    parquet = import_pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            if file.metadata.num_rows > MOST_ROWS:
                raise ValueError(f"it has more than {MOST_ROWS} rows")
            columns = _audio_columns(file.schema_arrow)
            lines = list(_lines(path, file, columns))
    except (ValueError, TypeError) as error:  # those of Arrow are of these types
        why = str(error).splitlines()[0]
        raise unreadable(path, f"the data cannot be read: {why}") from None
    utterances, problems = read_lines(path, lines, None, needs_text=False)
    embedded = [column.name for column in columns if column.has_bytes]
    clips = []
    for each in utterances:
        clip = clip_of(each)
        if embedded and each.line is not None:
            cell = ParquetCell(path, embedded[0], each.line - 1)
            clip = replace(clip, audio=cell)
        clips.append(clip)
    return clips, problems


def _audio_columns(schema: Any) -> list[_Column]:
    types = import_pyarrow("types")
    found = []
    for name in AUDIO:
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        inner = {kind.field(n).name for n in range(kind.num_fields)}
        if types.is_struct(kind):
            found.append(_Column(name, "path" in inner, "bytes" in inner))
        else:
            is_bytes = types.is_binary(kind) or types.is_large_binary(kind)
            found.append(_Column(name, False, is_bytes))
    return found


def _lines(path: Path, file: Any, columns: list[_Column]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row's fields as a line of JSON has them; embedded audio is called by its row."""
    light = [name for name in FIELDS if name in file.schema_arrow.names]
    for column in columns:
        light += column.light
    number = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        rows = file.read_row_group(group, columns=light).to_pylist() if light else [{}] * count
        for row in rows:
            number += 1
            line = {key: value for key, value in row.items() if value is not None}
            if ID in line:
                line[ID] = str(line[ID])
            for column in columns:
                own = row.get(column.name)
                named = own["path"] if isinstance(own, dict) else own
                line[column.name] = named or (f"{path.name}:{number}" if column.has_bytes else "")
            yield number, line


class ParquetCellReader:
    """Reads the audio of cells; those of a file in ascending order are read in one pass."""

    def __init__(self) -> None:
        self._key: tuple[Path, str] | None = None
        self._batches: Iterator[list[Any]] = iter(())
        self._first, self._rows = 0, list[Any]()

    def load(self, clip: CorpusClip) -> CorpusClip:
        """Return a clip with the bytes of its cell, or the path where the cell has only that.

        Raise S480 where there is neither, R580 where the file cannot be read any more.
        """
        cell = clip.audio
        if not isinstance(cell, ParquetCell):
            return clip
        try:
            value = self._value(cell)
        except (OSError, ValueError) as error:
            why = str(error).splitlines()[0]
            raise unreadable(cell.path, f"the data cannot be read: {why}") from None
        if isinstance(value, dict):
            named = value.get("path")
            value = value["bytes"] or (named and cell.path.parent / named)
        if value is None:
            place = Place(str(cell.path), cell.row + 1)
            raise ComposerError(Problem("S480", "the row has no audio", place))
        return replace(clip, audio=value)

    def _value(self, cell: ParquetCell) -> Any:
        if self._key != (cell.path, cell.column) or cell.row < self._first:
            self._key = (cell.path, cell.column)
            self._batches = _batches(cell.path, cell.column)
            self._first, self._rows = 0, []
        while cell.row >= self._first + len(self._rows):
            self._first += len(self._rows)
            self._rows = next(self._batches, [])
            if not self._rows:
                raise ValueError("it has fewer rows than before")
        return self._rows[cell.row - self._first]


def _batches(path: Path, column: str) -> Iterator[list[Any]]:
    with import_pyarrow().ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(BATCH, columns=[column]):
            yield batch.column(0).to_pylist()

"""The folder that a corpus is written to: rows in shards of a fixed size, in the corpus's order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.journal import Journal, require_same_run
from composer.core.output import json_text, unwritable, write_file
from composer.core.safe_read import RESULTS, read_whole
from composer.core.suggest import listed
from composer.corpus.row import ROWS, Row
from composer.corpus.shard_format import ShardFormat

RUN, TIMES, ACCOUNT = "run.json", "times.jsonl", "account.json"
SHARD = "part-{:05}.{}"
JOURNAL = ".part-{:05}.rows"  # of a shard that is not complete
VERSION = 1


@dataclass
class Shards:
    """The rows of a corpus in a folder, which one process writes: `hold_folder_lock` holds it.

    Each shard has the rows of `size` clips, the last one of what is left. Its rows come in any
    order and are kept in a journal; once all are there, the shard is written whole, and the journal
    goes. So each row is in exactly one file of the folder, whenever the process ends.
    """

    folder: Path
    format: ShardFormat
    size: int
    ids: Sequence[str]
    made_by: Mapping[str, Any]
    _shard_of: dict[str, int] = field(default_factory=dict)
    _journals: dict[int, Journal[Row]] = field(default_factory=dict)

    def open(self) -> None:
        """Begin the folder, or continue the one of an earlier run.

        Raise R570 if other settings or data made it, R507 where something else is there.
        """
        self._shard_of = {name: number // self.size for number, name in enumerate(self.ids)}
        path = self.folder / RUN
        try:
            found = _read_run(path) if path.exists() else None
            if found is None:
                self._require_empty()
                write_file(path, json_text({"batch": VERSION, **self.made_by}) + "\n", sync=True)
            else:
                require_same_run(path, found, json.loads(json.dumps(self.made_by)))
            for left in self.folder.glob(".*.part"):
                left.unlink()  # of a write that a kill ended
        except OSError as error:
            raise unwritable(self.folder, error) from None

    def close(self) -> None:
        """Close the journals; what is in them stays."""
        for journal in self._journals.values():
            journal.file.close()
        self._journals.clear()

    @property
    def count(self) -> int:
        """Return how many shards the corpus has."""
        return -(-len(self.ids) // self.size)

    def path(self, shard: int) -> Path:
        """Return the file of a complete shard."""
        return self.folder / SHARD.format(shard, self.format.name)

    def journal(self, shard: int) -> Path:
        """Return the file of a shard that is not complete."""
        return self.folder / JOURNAL.format(shard)

    def read(self) -> Iterator[tuple[Path, list[Row]]]:
        """Yield the rows that are there by their file, a shard at a time; raise R571 for others."""
        for shard in range(self.count):
            path = self.path(shard)
            if path.exists():
                rows = self.format.read(path)
                if [row.id for row in rows] != list(self._ids(shard)):
                    raise _other_rows(path)
                self.journal(shard).unlink(missing_ok=True)  # the end came just before this
                yield path, rows
            elif self.journal(shard).exists():
                rows = list(self._journal(shard).rows.values())
                if not {row.id for row in rows} <= set(self._ids(shard)):
                    raise _other_rows(self.journal(shard))
                yield self.journal(shard), rows
                self._finish(shard)

    def remove(self, path: Path, rows: Sequence[Row], unwanted: Sequence[Row]) -> None:
        """Take rows out of the file that has them, so that their clips are run again."""
        shard = self._shard_of[rows[0].id]
        kept = [ROWS.line(row) for row in rows if row not in unwanted]
        if shard in self._journals:
            self._journals.pop(shard).file.close()
        header = ROWS.header({"bundle": self.made_by["bundle"]})
        write_file(self.journal(shard), "".join([header, *kept]), sync=True)
        if path != self.journal(shard):
            path.unlink()

    def add(self, row: Row) -> None:
        """Write a row, and its shard once that is complete; it is on the disk then."""
        shard = self._shard_of[row.id]
        self._journal(shard).add(row)
        self._finish(shard)

    def _ids(self, shard: int) -> Sequence[str]:
        return self.ids[shard * self.size : (shard + 1) * self.size]

    def _journal(self, shard: int) -> Journal[Row]:
        if shard not in self._journals:
            made_by = {"bundle": self.made_by["bundle"]}
            self._journals[shard] = Journal(self.journal(shard), made_by, ROWS)
        return self._journals[shard]

    def _finish(self, shard: int) -> None:
        ids = self._ids(shard)
        journal = self._journals.get(shard)
        if journal is None or len(journal.rows) < len(ids):
            return
        rows = [journal.rows[name] for name in ids]
        write_file(self.path(shard), self.format.write(rows), sync=True)
        journal.file.close()
        journal.path.unlink()
        del self._journals[shard]

    def _require_empty(self) -> None:
        there = sorted(path.name for path in self.folder.iterdir() if path.suffix != ".part")
        if there:
            message = f"the folder has files of something else: {listed(there)}"
            hint = "name a new folder, or one that composer batch wrote"
            raise ComposerError(Problem("R507", message, Place(str(self.folder)), hint=hint))


def _read_run(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_whole(path, RESULTS))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.pop("batch", None) != VERSION:
        hint = "use another folder"
        message = "this is not the run of a corpus that composer batch wrote"
        raise ComposerError(Problem("R571", message, Place(str(path)), hint=hint))
    return found


def _other_rows(path: Path) -> ComposerError:
    message = "the file has not the rows of these clips"
    hint = "delete it, and its clips will be run again"
    return ComposerError(Problem("R571", message, Place(str(path)), hint=hint))

"""How the rows of a shard are written and read: lines of JSON, or Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import unwritable
from composer.core.safe_read import RESULTS, read_whole
from composer.core.suggest import did_you_mean, listed
from composer.corpus.packages import require_package
from composer.corpus.parquet import import_pyarrow
from composer.corpus.row import ROWS, Row


@dataclass(frozen=True)
class ShardFormat:
    """A format by its name, which is the ending of its files."""

    name: str
    write: Callable[[Sequence[Row]], bytes]
    parse: Callable[[bytes], list[Row]]

    def read(self, path: Path) -> list[Row]:
        """Return the rows of a shard; raise R571 where it is none."""
        try:
            return self.parse(read_whole(path, RESULTS))
        except OSError as error:
            raise unwritable(path, error) from None
        except (ValueError, TypeError, RecursionError):
            message = "this is not a shard that composer batch wrote"
            hint = "delete it, and its clips will be run again"
            raise ComposerError(Problem("R571", message, Place(str(path)), hint=hint)) from None


def _to_lines(rows: Sequence[Row]) -> bytes:
    return "".join(map(ROWS.line, rows)).encode()


def _from_lines(data: bytes) -> list[Row]:
    return [ROWS.read_line(line) for line in data.splitlines()]


def _schema() -> Any:
    """Return the columns of a shard in Parquet; `outputs`, which differ by bundle, are JSON."""
    pa = require_package("pyarrow", "batch", "Parquet")
    texts = pa.list_(pa.string())
    segment = [("start", pa.float64()), ("end", pa.float64()), ("text", pa.string())]
    segment += [("channel", pa.int64()), ("silent", pa.bool_()), ("suspicious", texts)]
    problem = [(key, pa.string()) for key in ("code", "severity", "message", "file")]
    problem += [("line", pa.int64()), ("column", pa.int64())]
    problem += [("causes", texts), ("hint", pa.string())]
    coverage = [(key, pa.float64()) for key in ("audio", "run", "silent")]
    return pa.schema(
        [
            ("id", pa.string()),
            ("sha256", pa.string()),
            ("text", pa.string()),
            ("language", pa.string()),
            ("duration", pa.float64()),
            ("finish_reason", pa.string()),
            ("tokens", pa.int64()),
            ("notes", texts),
            ("coverage", pa.struct(coverage)),
            ("segments", pa.list_(pa.struct(segment))),
            ("outputs", pa.string()),
            ("error", pa.list_(pa.struct(problem))),
        ]
    )


def _to_parquet(rows: Sequence[Row]) -> bytes:
    pa = require_package("pyarrow", "batch", "Parquet")
    entries = []
    for row in rows:
        entry = asdict(row)
        if row.outputs is not None:
            entry["outputs"] = json.dumps(row.outputs, ensure_ascii=False)
        entries.append(entry)
    file = BytesIO()
    import_pyarrow().write_table(pa.Table.from_pylist(entries, _schema()), file)
    return file.getvalue()


def _from_parquet(data: bytes) -> list[Row]:
    rows = []
    for entry in import_pyarrow().read_table(BytesIO(data)).to_pylist():
        if entry.get("outputs") is not None:
            entry["outputs"] = json.loads(entry["outputs"])
        rows.append(ROWS.read_line(json.dumps(entry)))
    return rows


FORMATS = {
    "jsonl": ShardFormat("jsonl", _to_lines, _from_lines),
    "parquet": ShardFormat("parquet", _to_parquet, _from_parquet),
}


def shard_format(name: str) -> ShardFormat:
    """Return a format of shards; raise R544 for another, R585 for Parquet without pyarrow."""
    if name not in FORMATS:
        near = did_you_mean(name, FORMATS) or f"there are: {listed(FORMATS)}"
        raise ComposerError(Problem("R544", f"there is no format of shards '{name}'; {near}"))
    if name == "parquet":
        import_pyarrow()
    return FORMATS[name]

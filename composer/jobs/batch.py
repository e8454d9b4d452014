"""Transcribe a corpus: each clip once, whatever ends, on several processes or machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import hold_folder_lock, json_text, write_file
from composer.core.suggest import group_lines
from composer.corpus.account import BatchSummary, account_of
from composer.corpus.clip import CorpusClip, ParquetCell
from composer.corpus.data import digest_of, read_corpus
from composer.corpus.dispatch import Dispatcher
from composer.corpus.parquet import ParquetCellReader
from composer.corpus.ray_workers import RayWorkers
from composer.corpus.row import Row
from composer.corpus.shard_format import shard_format
from composer.corpus.shards import ACCOUNT, TIMES, Shards
from composer.corpus.worker import Workers
from composer.corpus.worker_process import LocalWorkers
from composer.evaluation.timing import Clock
from composer.formats.audio.channels import Channel
from composer.formats.audio.digest import source_digest
from composer.jobs.batch_task import BatchTask
from composer.jobs.bundle import Options, as_bundle_options
from composer.jobs.progress import JobProgress, OnProgress, no_progress
from composer.jobs.speech import speech_task
from composer.runtime.opening import BundleOptions

TIMEOUT = 3600.0
ROWS = 1000


def batch(
    bundle: str | Path | BundleOptions,
    data: str | Path | Sequence[str | Path],
    folder: str | Path,
    *,
    task: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    options: Options | None = None,
    channel: Channel | None = None,
    partial: bool = False,
    workers: int | None = None,
    in_flight: int = 8,
    timeout: float = TIMEOUT,
    ray: str | None = None,
    format: str = "jsonl",
    rows: int = ROWS,
    retry: bool = False,
    on_row: Callable[[Row], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    progress: OnProgress = no_progress,
) -> BatchSummary:
    """Transcribe a corpus into shards of rows in a folder, and return the account.

    `data` are manifests (JSONL, CSV), Parquet files, folders, clips or patterns. `inputs`,
    `options`, `channel` and `partial` are those of `transcribe`. `workers` processes load the
    bundle once each and run `in_flight` clips at once; with `ray`, the address of a cluster or
    "local", they are on its machines, by default one on each, or else one on this machine. A clip
    may take `timeout` seconds. `format` is "jsonl" or "parquet", with `rows` a shard.

    A folder that an earlier call left is continued: each clip has exactly one row, in the corpus's
    order, whatever ended the call. With `retry` clips that failed are run again. A clip that fails
    is a row with `error`. `on_row` is called with each row once it is on the disk, in the order in
    which they are done; `on_note` with what happened to workers; `progress` with the stages
    "fetching", "resuming", "loading" and "transcribing".

    Raise ComposerError where the bundle is refused or does not load (any code), where the call is
    wrong (R540 to R544), where the data cannot be used (R580 to R583), where a package is missing
    (R585), where the folder is of other settings (R570), of other audio (R575) or of something else
    (R507, R571), or where no worker can run the clips (R579, R588).
    """
    _require_counts(workers=1 if workers is None else workers, in_flight=in_flight, rows=rows)
    asked, output, writer = as_bundle_options(bundle), Path(folder), shard_format(format)
    clips = read_corpus([data] if isinstance(data, str | Path) else list(data))
    with asked.open() as opened:
        speech = speech_task(opened, task, inputs or {}, options or {}, channel, partial)
        progress(JobProgress("fetching", opened.name))
        opened.fetch(speech.graph.task)
        made_by = {
            **speech.made_by(),
            "output": {"format": format, "rows": rows},
            "data": {"clips": len(clips), "sha256": digest_of(clips)},
        }
        sent = BatchTask.of(speech, _portable(asked), in_flight)
    ids = [clip.id for clip in clips]
    with hold_folder_lock(output), closing(Shards(output, writer, rows, ids, made_by)) as shards:
        shards.open()
        done = _finished(shards, clips, retry)
        if done:
            progress(JobProgress("resuming", str(output), len(done), len(clips)))
        missing = [clip for clip in clips if clip.id not in done]
        clock, restarts = Clock(output / TIMES, in_flight * (workers or 1)), 0
        if missing:
            started = _workers(ray, sent, workers, timeout)
            notes = on_note or (lambda _: None)
            dispatcher = Dispatcher(started, in_flight, ParquetCellReader().load, notes)
            steps = _Steps(opened.name, len(missing), clock, progress)
            with closing(started):
                for row in steps.of(dispatcher.run(missing)):
                    shards.add(row)
                    if on_row:
                        on_row(row)
            restarts = dispatcher.restarts
        account = account_of(shards, clock.speed(), restarts)
        write_file(output / ACCOUNT, json_text(account.as_json()) + "\n", sync=True)
    return account


def _require_counts(**counts: int) -> None:
    """Raise R544 for a number of things that is not at least one."""
    for name, value in counts.items():
        if value < 1:
            raise ComposerError(Problem("R544", f"'{name}' must be at least 1, not {value}"))


def _portable(bundle: BundleOptions) -> BundleOptions:
    """Name a bundle's files so that a process with another working folder finds them."""
    sources = {name: folder.absolute() for name, folder in bundle.sources.items()}
    found = replace(bundle, sources=sources, lock=bundle.lock and bundle.lock.absolute())
    if Path(bundle.name).exists():
        return replace(found, name=Path(bundle.name).absolute())
    return found


def _workers(ray: str | None, task: BatchTask, count: int | None, seconds: float) -> Workers:
    if ray is not None:
        return RayWorkers(ray, task, count, seconds)
    return LocalWorkers(task, count or 1, seconds)


def _finished(shards: Shards, clips: Sequence[CorpusClip], retry: bool) -> set[str]:
    """Return the ids whose rows are there; with `retry` without failures, which are taken out.

    Raise R575 where the audio of a row is another by now.
    """
    by_id, reader = {clip.id: clip for clip in clips}, ParquetCellReader()
    done: set[str] = set()
    changed = []
    for path, rows in shards.read():
        failed = [row for row in rows if row.error is not None] if retry else []
        for row in rows:
            if row.error is None and row.sha256 != _digest(by_id[row.id], reader):
                changed.append(row.id)
        if failed:
            shards.remove(path, rows, failed)
        done |= {row.id for row in rows} - {row.id for row in failed}
    if changed:
        causes = tuple(group_lines({"of other audio": changed}))
        hint = "use another folder"
        place = Place(str(shards.folder))
        raise ComposerError(Problem("R575", "these results are of other data", place, causes, hint))
    return done


def _digest(clip: CorpusClip, reader: ParquetCellReader) -> str | None:
    try:
        audio = reader.load(clip).audio
    except ComposerError:
        return None
    return None if isinstance(audio, ParquetCell) else source_digest(audio)


@dataclass
class _Steps:
    """Times the rows of a run, and reports its progress."""

    bundle: str
    total: int
    clock: Clock
    progress: OnProgress

    def of(self, rows: Iterator[Row | None]) -> Iterator[Row]:
        """Pass on the rows; the clock counts from the first worker's start, which is no row."""
        self.progress(JobProgress("loading", self.bundle))
        done, audio = 0, 0.0
        with closing(rows):  # type: ignore[type-var]
            for row in rows:
                if row is None:
                    self.clock.start()
                else:
                    yield row
                    done += 1
                    audio += row.duration or 0.0
                    self.clock.lap(row.duration)
                speed = audio / max(self.clock.elapsed, 1e-9)
                detail = f"{speed:.1f} x real time" if done else ""
                self.progress(JobProgress("transcribing", self.bundle, done, self.total, detail))

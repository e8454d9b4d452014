"""A batch through Python alone, with the miniature."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import composer
from tests.jobs.corpora import CLIPS, output_of, rows_of, short_parts

MINI = "mega-asr-mini"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Return a manifest of 30 clips, one of which is missing and one broken, in shards of 8."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "broken.wav").write_bytes(b"RIFF and no more")
    manifest = short_parts(folder / "clips.jsonl", 28)
    with manifest.open("a") as file:
        file.write('{"audio_filepath": "missing.wav"}\n{"audio_filepath": "broken.wav"}\n')
    return manifest


@pytest.fixture(scope="module")
def whole(corpus):
    """Return the folder of a run that nothing disturbed."""
    folder = corpus.parent / "whole"
    composer.batch(MINI, corpus, folder, rows=8)
    return folder


def error_text(*arguments, **more):
    with pytest.raises(composer.ComposerError) as caught:
        composer.batch(MINI, *arguments, **more)
    return str(caught.value)


def test_rows_are_what_transcribe_gives(mini, clips, tmp_path):
    rows, steps = [], []
    account = composer.batch(
        MINI, list(clips), tmp_path / "out", on_row=rows.append, progress=steps.append
    )
    found = {row["id"]: row for row in rows_of(tmp_path / "out")}
    assert list(found) == list(clips)
    for each in composer.transcribe(mini, clips):
        row = found[each.name]
        assert (row["text"], row["tokens"]) == (each.text, each.tokens)
        assert (row["language"], row["finish_reason"]) == ("English", "stop")
        assert row["duration"] == pytest.approx(each.duration, abs=1e-6)
        assert row["segments"][0]["text"] == each.text
    assert sorted(row.id for row in rows) == sorted(clips)
    assert (account.clips, account.rows, account.failed, account.shards) == (2, 2, 0, 1)
    assert account.audio_seconds == pytest.approx(sum(row["duration"] for row in found.values()))
    assert account.rtf == account.speed.wall / account.audio_seconds
    stages = [(step.stage, step.done, step.total) for step in steps]
    assert stages[:2] == [("fetching", 0, None), ("loading", 0, None)]
    assert stages[2:] == [("transcribing", done, 2) for done in range(3)]
    assert steps[-1].speed.endswith(" x real time")
    assert json.loads((tmp_path / "out" / "account.json").read_text()) == account.as_json()


def test_bad_clips_are_rows_and_everything_has_its_place(corpus, whole):
    rows = rows_of(whole)
    assert len(rows) == 30
    assert [row["id"] for row in rows[-2:]] == ["missing.wav", "broken.wav"]
    assert [row["error"][0]["code"] for row in rows if "error" in row] == ["S480", "S481"]
    names = ["part-00000.jsonl", "part-00001.jsonl", "part-00002.jsonl", "part-00003.jsonl"]
    assert sorted(output_of(whole)) == [*names, "run.json"]
    assert json.loads((whole / "account.json").read_text())["errors"] == {"S480": 1, "S481": 1}


def test_a_driver_that_is_killed_is_continued_by_more_workers(corpus, whole, tmp_path):
    """kill -9 once some rows are there; what is left is run by two workers in place of one."""
    out = tmp_path / "out"
    options = ["-o", out, "--rows", "8", "--jobs", "2"]
    command = [sys.executable, "-m", "composer", "batch", MINI, corpus, *options]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not [*out.glob("part-*")] and driver.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    driver.kill()
    driver.communicate()
    assert driver.returncode == -9
    steps = []
    account = composer.batch(
        MINI, corpus, out, rows=8, workers=2, in_flight=3, progress=steps.append
    )
    (resumed,) = [step for step in steps if step.stage == "resuming"]
    assert 0 < resumed.done < 30
    assert output_of(out) == output_of(whole)
    assert (account.clips, account.rows, account.speed.sessions) == (30, 30, 2)


def test_a_run_that_is_complete_runs_nothing(corpus, whole):
    before = output_of(whole)
    steps = []
    account = composer.batch(MINI, corpus, whole, rows=8, progress=steps.append)
    assert [step.stage for step in steps] == ["fetching", "resuming"]
    assert (account.rows, account.failed) == (30, 2)
    assert output_of(whole) == before


def test_other_settings_and_other_data_are_refused(corpus, whole, tmp_path):
    before = output_of(whole)
    where = f"{whole}/run.json: R570 these results were made with other settings and cannot be "
    hint = "    hint: use another folder, or delete these"
    options = {"answer": {"max_tokens": 5}}
    assert error_text(corpus, whole, rows=8, options=options) == (
        f"{where}resumed\n    settings.answer.max_tokens: 128 there, 5 now\n{hint}"
    )
    text = error_text(corpus, whole, format="parquet")
    assert 'output.format: "jsonl" there, "parquet" now' in text
    assert "output.rows: 8 there, 1000 now" in text
    other = short_parts(tmp_path / "other.jsonl", 29)
    assert "data.clips: 30 there, 29 now" in error_text(other, whole, rows=8)
    assert output_of(whole) == before


def test_failures_are_kept_unless_they_are_to_be_run_again(tmp_path):
    clips, out = tmp_path / "clips.jsonl", tmp_path / "out"
    clips.write_text(f'{{"audio": "{CLIPS[4]}"}}\n{{"audio": "late.flac"}}\n')
    assert composer.batch(MINI, clips, out).failed == 1
    shutil.copy(CLIPS[5], tmp_path / "late.flac")
    assert composer.batch(MINI, clips, out).failed == 1
    account = composer.batch(MINI, clips, out, retry=True)
    assert (account.rows, account.failed) == (2, 0)
    assert [row["id"] for row in rows_of(out)] == [str(CLIPS[4]), "late.flac"]
    shutil.copy(CLIPS[7], tmp_path / "late.flac")
    assert error_text(clips, out) == (
        f"{out}: R575 these results are of other data\n"
        "    1 of other audio: late.flac\n"
        "    hint: use another folder"
    )


def test_parquet_in_and_out(mini, clips, tmp_path):
    audio = [{"bytes": Path(clip).read_bytes(), "path": Path(clip).name} for clip in clips]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"audio": pa.array(audio, kind)}), tmp_path / "clips.parquet")
    out = tmp_path / "out"
    composer.batch(MINI, tmp_path / "clips.parquet", out, format="parquet")
    table = pq.read_table(out / "part-00000.parquet")
    assert table.column("id").to_pylist() == [Path(clip).name for clip in clips]
    texts = [each.text for each in composer.transcribe(mini, clips)]
    assert table.column("text").to_pylist() == texts
    before = output_of(out)
    composer.batch(MINI, tmp_path / "clips.parquet", out, format="parquet")  # its bytes are checked
    assert output_of(out) == before


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"workers": 0}, "R544 'workers' must be at least 1, not 0"),
        ({"rows": 0}, "R544 'rows' must be at least 1, not 0"),
        ({"format": "csv"}, "R544 there is no format of shards 'csv'; there are: jsonl, parquet"),
        ({"inputs": {"sad": "x"}}, "R540 the bundle has no input 'sad'"),
        ({"task": "chat"}, "R543 the bundle has no task 'chat'"),
    ],
)
def test_a_wrong_call_leaves_no_folder(corpus, tmp_path, more, problem):
    assert error_text(corpus, tmp_path / "out", **more).startswith(problem)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_another_process_writes(corpus, tmp_path):
    from composer.core.output import hold_folder_lock

    with hold_folder_lock(tmp_path / "out"):
        assert error_text(corpus, tmp_path / "out") == (
            f"{tmp_path}/out: R507 another process is writing here\n"
            "    hint: wait for it, or take another folder"
        )


def test_a_worker_that_finds_other_versions_refuses(mini):
    from composer.jobs.batch_task import BatchTask
    from composer.jobs.speech import speech_task
    from composer.runtime.opening import BundleOptions

    task = BatchTask.of(speech_task(mini, None, {}, {}), BundleOptions(MINI), 1)
    task.identity["versions"]["numpy"] = "0.1"
    with pytest.raises(composer.ComposerError) as caught:
        task.load(1)
    (problem,) = caught.value.problems
    assert problem.code == "R588"
    assert problem.message == "a worker has another bundle, or other versions, than its driver"
    assert '"numpy": "0.1"' in problem.causes[0]

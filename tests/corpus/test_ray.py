"""Workers on a Ray cluster: the rules of processes, by the same code."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from composer.core.errors import ComposerError
from composer.corpus import packages
from composer.corpus.clip import CorpusClip
from composer.corpus.dispatch import Dispatcher
from composer.corpus.ray_workers import RayWorkers
from tests.jobs.corpora import CLIPS, output_of

GOOD = [f"good-{number}" for number in range(12)]


def test_without_ray_the_command_that_installs_it_is_named(tasks, tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(ComposerError) as caught:
        RayWorkers("local", tasks.FakeTask(tmp_path), 1, 60.0)
    assert str(caught.value) == (
        "R585 --ray needs ray, which is not installed\n    hint: pip install 'bundle-composer[ray]'"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1:9", "[Errno 111] Connection refused"),
        ("ray://127.0.0.1:9", "[Errno 111] Connection refused"),
        ("127.0.0.1:ray", "invalid literal for int() with base 10: 'ray'"),
        ("auto", "Could not find any running Ray instance. "),
    ],
)
def test_no_cluster_at_an_address(tasks, tmp_path, address, why):
    with pytest.raises(ComposerError) as caught:
        RayWorkers(address, tasks.FakeTask(tmp_path), 1, 60.0)
    assert str(caught.value).startswith(f"R579 there is no Ray cluster at '{address}': {why}")
    assert caught.value.exit_code == 5


@pytest.fixture
def run(tasks, tmp_path):
    """Run clips by their ids on a cluster of this machine."""
    started = []

    def call(names, during=lambda: None, seconds=60.0):
        task, notes = tasks.FakeTask(tmp_path), []
        workers = RayWorkers("local", task, 2, seconds)
        started.append(workers)
        dispatcher = Dispatcher(workers, task.in_flight, lambda clip: clip, notes.append)
        rows = []
        for row in dispatcher.run([CorpusClip(name, b"") for name in names]):
            during()
            rows.append(row)
        assert rows.pop(0) is None
        assert sorted(row.id for row in rows) == sorted(names)
        return {row.id: row for row in rows}, task, notes

    yield call
    for workers in started:
        workers.close()


@pytest.mark.slow
def test_clips_that_crash_and_hang_are_rows_and_end_no_actor(run):
    rows, task, notes = run([*GOOD, "bad-1", "crash-1", "hang-1"], seconds=3.0)
    assert {name: row.codes for name, row in rows.items() if row.error} == {
        "bad-1": ["S482"],
        "crash-1": ["R569"],
        "hang-1": ["R587"],
    }
    assert (task.runs("crash-1"), task.runs("hang-1")) == (2, 2)
    assert all(task.runs(name) >= 1 for name in GOOD)
    assert any("(signal 11)" in note for note in notes)
    assert not any("lost" in note for note in notes)


@pytest.mark.slow
def test_an_actor_that_is_killed_is_replaced(run):
    """What it ran is run by another one; its process ends with it."""
    killed = []

    def kill_one():
        found = subprocess.run(
            ["pgrep", "-f", "ray::WorkerHost"], capture_output=True, text=True, check=False
        ).stdout.split()
        if found and len(killed) < 2:
            os.kill(int(found[0]), signal.SIGKILL)
            killed.append(found[0])

    names = [f"good-{number}" for number in range(60)]
    rows, _, notes = run(names, during=kill_one)
    assert [name for name, row in rows.items() if row.error] == []
    assert len(killed) == 2
    assert any("(its Ray actor or machine was lost)" in note for note in notes)


@pytest.mark.slow
def test_the_command_on_a_cluster_that_it_starts(tmp_path):
    command = [sys.executable, "-m", "composer", "batch", "mega-asr-mini", *CLIPS]
    command += ["--rows", "5", "--workers", "2", "--json"]
    where = {"here": [], "ray": ["--ray", "local"]}
    for name, more in where.items():
        done = subprocess.run(
            [*command, "-o", tmp_path / name, *more], capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["rows"] == 12
        assert done.stderr == ""
    assert output_of(tmp_path / "ray") == output_of(tmp_path / "here")
    time.sleep(5)
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout
    assert left == ""

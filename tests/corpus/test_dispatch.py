"""Workers that crash, hang and are killed: each clip is run once, or is a row with an error."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from composer.core.errors import ComposerError, Problem
from composer.corpus.clip import CorpusClip
from composer.corpus.dispatch import Dispatcher
from composer.corpus.worker_process import LocalWorkers

GOOD = [f"good-{number}" for number in range(12)]


@pytest.fixture
def run(tasks, tmp_path, request):
    """Run clips by their ids; return the rows in the order they came, the task, and the notes."""

    def call(names, count=2, seconds=60.0, load=lambda clip: clip, **more):
        task, notes = tasks.FakeTask(tmp_path, **more), []
        workers = LocalWorkers(task, count, seconds)
        dispatcher = Dispatcher(workers, task.in_flight, load, notes.append)
        rows = list(dispatcher.run([CorpusClip(name, b"") for name in names]))
        assert rows.pop(0) is None
        assert sorted(row.id for row in rows) == sorted(names)
        assert dispatcher.restarts == len(notes)
        return {row.id: row for row in rows}, task, notes

    return call


def errors(rows):
    return {name: row.error for name, row in rows.items() if row.error}


def error(code, message, hint):
    return {
        "code": code, "severity": "error", "message": message, "file": None, "line": None,
        "column": None, "causes": [], "hint": hint,
    }  # fmt: skip


CRASHED = "signal 9 may be too little memory; others are a crash of a library"


def test_each_clip_is_run_once_by_several_workers(run, capfd):
    meets = [f"meet-{number}" for number in range(3)]  # all that one worker has in flight
    rows, task, notes = run([*meets, *GOOD, "bad-1"], seconds=200.0)
    assert [row.text for name, row in sorted(rows.items()) if name in GOOD] == [
        name.replace("-", " ") for name in sorted(GOOD)
    ]
    assert errors(rows) == {"bad-1": [error("S482", "the file is empty", None)]}
    assert [task.runs(name) for name in rows] == [1] * 16
    assert len({(task.folder / name).read_text() for name in rows}) == 2
    assert notes == []
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("crash", "signal 11"),
        pytest.param("leave", "status 3", marks=pytest.mark.slow),
    ],
)
def test_a_clip_that_crashes_its_worker_twice_is_a_row(run, what, how):
    rows, task, notes = run([*GOOD[:3], f"{what}-0", *GOOD[3:]], count=1)
    message = f"the worker that ran the clip ended ({how}), by itself, too"
    assert errors(rows) == {f"{what}-0": [error("R569", message, CRASHED)]}
    assert task.runs(f"{what}-0") == 2
    first, second = notes
    assert first.startswith(f"worker 1 ended ({how}) with ")
    assert first.endswith("in flight, each to be run again by itself; another one starts")
    assert second == (
        f"worker 1 ended ({how}) with 1 clip in flight, each to be run again by itself; "
        "another one starts"
    )


@pytest.mark.slow
def test_who_ran_beside_it_is_innocent(run):
    """Of three in flight one crashes: all are run again, and only that one again fails."""
    rows, _, _ = run(["good-0", "good-1", "crash-0"], count=1, in_flight=3)
    assert [*errors(rows)] == ["crash-0"]


def test_a_crash_that_does_not_come_again_leaves_no_trace(run):
    rows, task, notes = run([*GOOD, "once-0"], count=1)
    assert errors(rows) == {}
    assert rows["once-0"].text == "once 0"
    assert task.runs("once-0") == 2
    assert len(notes) == 1


@pytest.mark.slow
def test_a_fault_of_the_program_is_a_crash_with_its_traceback(run, capfd):
    rows, _, _ = run([*GOOD, "fault-0"], count=1)
    assert [problem["code"] for problem in errors(rows)["fault-0"]] == ["R569"]
    assert "ZeroDivisionError: of this program" in capfd.readouterr().err


def test_a_clip_that_hangs_is_a_row_and_stops_no_other(run):
    rows, task, notes = run(["hang-0", *GOOD], count=1, seconds=1.0)
    message = "the clip took longer than 1 s, by itself, too"
    hint = "allow more by --timeout, or cut the clip"
    assert errors(rows) == {"hang-0": [error("R587", message, hint)]}
    assert task.runs("hang-0") == 2
    assert notes[-1] == (
        "worker 1 ended (a clip took longer than 1 s) with 1 clip in flight, each to be run again "
        "by itself; another one starts"
    )


@pytest.mark.slow
def test_whoever_kills_workers_is_not_the_clips_fault(run):
    """A worker is killed while it runs a clip, beside others and then twice by itself."""
    rows, task, notes = run([*GOOD, "killed-2"], count=1)
    assert errors(rows) == {}
    assert (task.runs("killed-2"), len(notes)) == (3, 2)


@pytest.mark.slow
def test_a_clip_that_is_killed_each_time_is_a_row(run):
    rows, task, _ = run([*GOOD, "killed-99"], count=1)
    message = "the worker that ran the clip ended (signal 9), by itself, too"
    assert errors(rows) == {"killed-99": [error("R569", message, CRASHED)]}
    assert task.runs("killed-99") == 4


def test_a_clip_that_cannot_be_read_here_is_a_row(run):
    def load(clip):
        if clip.id == "good-3":
            raise ComposerError(Problem("S480", "the row has no audio"))
        return clip

    rows, task, _ = run(GOOD, load=load)
    assert errors(rows) == {"good-3": [error("S480", "the row has no audio", None)]}
    assert task.runs("good-3") == 0


@pytest.mark.slow
def test_a_suspect_that_cannot_be_read_again_is_a_row_and_stops_no_other(run):
    """Its file is gone by the time that it is to be run alone."""
    given = set()

    def load(clip):
        if clip.id == "crash-0" and clip.id in given:
            raise ComposerError(Problem("S480", "the row has no audio"))
        given.add(clip.id)
        return clip

    rows, task, _ = run(["crash-0", *GOOD], count=1, load=load, in_flight=1)
    assert errors(rows) == {"crash-0": [error("S480", "the row has no audio", None)]}
    assert task.runs("crash-0") == 1


def test_a_task_that_cannot_be_loaded(run):
    with pytest.raises(ComposerError) as caught:
        run(GOOD, fault="refuse")
    assert str(caught.value) == "L301 no such weights\n    hint: look again"


@pytest.mark.slow
def test_a_worker_that_the_system_refuses_a_thread_says_so(run, capfd):
    with pytest.raises(ComposerError) as caught:
        run(["ok"], fault="no thread")
    assert str(caught.value).startswith(
        "R589 the system refused a thread\n    hint: raise the limit"
    )
    assert "Traceback" not in capfd.readouterr().err


def test_workers_that_crash_before_they_have_loaded(run):
    with pytest.raises(ComposerError) as caught:
        run(GOOD, fault="crash")
    assert str(caught.value).split(" worker ", 1)[0] == "R579 no"
    assert "ended (signal 11) while it loaded the bundle" in str(caught.value)


def test_workers_end_when_nobody_reads_the_rows(tasks, tmp_path):
    workers = LocalWorkers(tasks.FakeTask(tmp_path), 2, 60.0)
    dispatcher = Dispatcher(workers, 3, lambda clip: clip, print)
    rows = dispatcher.run([CorpusClip(name, b"") for name in GOOD])
    next(rows)
    processes = [slot.worker.process for slot in dispatcher._slots]
    rows.close()
    assert [process.wait(10) for process in processes] == [-signal.SIGKILL] * 2


def test_a_worker_ends_with_its_parent(tasks, tmp_path):
    """A driver that is killed leaves no process, not even one that hangs."""
    code = (
        "import time; from pathlib import Path; from corpus_task import FakeTask\n"
        "from composer.corpus.clip import CorpusClip\n"
        "from composer.corpus.worker_process import WorkerProcess\n"
        f"worker = WorkerProcess(FakeTask(Path({str(tmp_path)!r})), 1, 60.0)\n"
        "worker.ready.result(); worker.submit(CorpusClip('hang-0', b'')); time.sleep(100)"
    )
    driver = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    child = int(_first_line(tmp_path / "hang-0"))
    os.kill(driver, signal.SIGKILL)
    os.waitpid(driver, 0)
    until = time.monotonic() + 20
    while _is_alive(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _is_alive(child)


def _first_line(path):
    until = time.monotonic() + 60
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < until
        time.sleep(0.05)
    return path.read_text().split()[0]


def _is_alive(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"

import errno
import fcntl
import json
import multiprocessing

import pytest

from composer.core.errors import ComposerError
from composer.evaluation.journal import Journal, Transcript, read_results

MADE = {"bundle": {"name": "b", "files": {"x": "sha256:1"}}, "settings": {"answer": {"n": 1}}}


def transcript(name, **more):
    return Transcript(name, "0" * 64, 1.5, "é word", **({"hypothesis": "word"} | more))


FAILED = transcript(
    "c", hypothesis=None, error=[{"code": "S480", "message": "no", "causes": [], "hint": None}]
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "results.jsonl"


def write(path, *rows):
    with Journal(path, MADE) as journal:
        for each in rows:
            journal.add(each)
    return path


def error_text(call, *arguments):
    with pytest.raises(ComposerError) as caught:
        call(*arguments)
    return str(caught.value)


def test_what_is_written_is_read(path):
    write(path, transcript("a", tokens=3, finish_reason="stop"), FAILED)
    found = read_results(path)
    assert found.made_by == MADE
    assert found.transcripts == {"a": transcript("a", tokens=3, finish_reason="stop"), "c": FAILED}
    assert found.complete == path.stat().st_size
    assert json.loads(path.read_text().splitlines()[1]) == {
        "id": "a", "sha256": "0" * 64, "seconds": 1.5, "reference": "é word", "hypothesis": "word",
        "finish_reason": "stop", "tokens": 3,
    }  # fmt: skip


@pytest.mark.parametrize("lost", range(1, 12))
def test_a_line_that_was_cut_off_is_written_anew(path, lost):
    """However much of the last line is lost, the file becomes what an undisturbed run writes."""
    write(path, transcript("a"), transcript("b"))
    whole = path.read_bytes()
    last = len(whole.splitlines(True)[-1])
    path.write_bytes(whole[: len(whole) - 1 - (last - 1) * (lost - 1) // 10])
    with Journal(path, MADE) as journal:
        assert list(journal.transcripts) == ["a"]
        assert not journal.is_new
        journal.add(transcript("b"))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("left", [0, 1, 20])
def test_a_first_line_that_was_cut_off(path, left):
    write(path, transcript("a"))
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    with Journal(path, MADE) as journal:
        assert journal.is_new
        journal.add(transcript("a"))
    assert path.read_bytes() == whole


def test_what_failed_before_is_written_in_its_place(path):
    write(path, FAILED, transcript("a"))
    with Journal(path, MADE) as journal:
        journal.add(transcript("c"))
        journal.add(transcript("b"))
        journal.put_in_order(["a", "b", "c"])
    assert path.read_bytes() == write(path.with_name("plain"), *map(transcript, "abc")).read_bytes()


def test_another_maker_is_refused_with_both_ways(path):
    write(path, transcript("a"))
    other = {"bundle": {"name": "b", "files": {"y": "sha256:2"}}, "settings": {"answer": {"n": 2}}}
    before = path.read_bytes()
    assert error_text(Journal, path, other) == (
        f"{path}: R570 these results were made with other settings and cannot be resumed\n"
        '    bundle.files.x: "sha256:1" there, null now\n'
        '    bundle.files.y: null there, "sha256:2" now\n'
        "    settings.answer.n: 1 there, 2 now\n"
        "    hint: use another folder, or delete these"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ("{}", "id Field required"),
        ('{"id": "a", "sha256": null, "seconds": "1", "reference": "", "hypothesis": ""}',
         "seconds Input should be a valid number"),
        ('{"id": "a", "sha256": null, "seconds": 1, "reference": "", "hypothesis": "", "x": 1}',
         "x Unexpected keyword argument"),
        ('{"id": "a", "sha256": null, "seconds": 1, "reference": ""}',
         "Value error, there is to be either a hypothesis or an error"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_result(path, line, what):
    write(path, transcript("b"))
    with path.open("a") as file:
        file.write(f"{line}\n")
    assert error_text(read_results, path) == (
        f"{path}:3: R571 this line is not a result: {what}\n"
        "    hint: delete the line, and its clip will be run again"
    )


@pytest.mark.parametrize(
    "text",
    [
        "{}\n",
        "[]\n",
        "x\n",
        '{"evaluation": 2}\n',
        '{"evaluation": 1}\n',
        '{"evaluation": 1, "bundle": null}\n',
    ],
)
def test_another_file(path, text):
    path.parent.mkdir()
    path.write_text(text)
    expected = (
        f"{path}:1: R571 the file is not a result file of composer eval\n"
        "    hint: give a file that composer eval -o wrote, of version 1"
    )
    assert error_text(read_results, path) == expected
    assert error_text(Journal, path, MADE) == expected
    assert path.read_text() == text


def test_no_file(path):
    assert error_text(read_results, path) == (
        f"{path}: R571 the results cannot be read: No such file or directory"
    )


def _keep_open(path, ready, done):
    with Journal(path, MADE):
        ready.set()
        done.wait(30)


def test_one_at_a_time(path):
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Event(), spawn.Event()
    other = spawn.Process(target=_keep_open, args=(path, ready, done))
    other.start()
    try:
        assert ready.wait(30)
        assert error_text(Journal, path, MADE) == (
            f"{path}: R576 another evaluation is writing its results here\n"
            "    hint: wait for it, or use another folder"
        )
    finally:
        done.set()
        other.join()
    with Journal(path, MADE):
        pass


def test_a_file_that_was_replaced_while_it_was_opened(path, monkeypatch):
    """Another process ends and puts its own file in place, just before this one has the lock."""
    write(path, transcript("a"))
    true = fcntl.flock

    def late(file, how):
        true(file, how)
        path.rename(path.with_name("old"))
        path.write_bytes(path.with_name("old").read_bytes())

    monkeypatch.setattr(fcntl, "flock", late)
    assert "R576 another evaluation is writing" in error_text(Journal, path, MADE)


def test_what_cannot_be_put_in_order(path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    write(path, transcript("a"))
    with Journal(path, MADE) as journal:
        journal.add(transcript("b"))
        before = path.read_bytes()
        monkeypatch.setattr("composer.core.output.write_whole", full)
        assert "R507 cannot write: No space left" in error_text(journal.put_in_order, ["b", "a"])
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "out").write_text("")
    assert "R507 cannot write" in error_text(Journal, tmp_path / "out" / "results.jsonl", MADE)

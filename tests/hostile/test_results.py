"""Files of results in a folder that is not trusted: no link is followed, no pipe waited for."""

import json
import os

import pytest

from composer.core.errors import ComposerError
from composer.core.safe_read import RESULTS, read_whole
from composer.evaluation.data import read_data
from composer.evaluation.journal import Journal, Transcript, read_results
from composer.evaluation.timing import Clock
from composer.jobs.transcript_folder import read_lines

MADE_BY = {"bundle": {"name": "tiny"}}


def hole(path):
    with path.open("wb") as file:
        file.truncate(RESULTS + 1)


READERS = {
    "results": read_results,
    "laps": lambda path: Clock(path, 1),
    "lines": read_lines,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(("make", "why"), [(os.mkfifo, "a pipe or device"), (hole, "the limit is")])
def test_no_pipe_is_waited_for_and_no_hole_is_read(tmp_path, read, make, why):
    make(tmp_path / "file")
    with pytest.raises(ComposerError, match=why):
        read(tmp_path / "file")


def test_results_are_not_written_into_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "results.jsonl")
    with pytest.raises(ComposerError, match="it is a pipe or device"):
        Journal(tmp_path / "results.jsonl", MADE_BY)


@pytest.mark.parametrize("theirs", ["", "theirs"])
def test_nothing_is_written_through_a_link(tmp_path, theirs):
    """Where it leads to nothing, too: a file would be made there."""
    target = tmp_path / "theirs"
    if theirs:
        target.write_text(theirs)
    for name in ("results.jsonl", "times.jsonl"):
        (tmp_path / name).symlink_to(target)
    with pytest.raises(ComposerError, match="R507 cannot write: it is a link"):
        Journal(tmp_path / "results.jsonl", MADE_BY)
    with pytest.raises(ComposerError, match="R507 cannot write: it is a link"):
        Clock(tmp_path / "times.jsonl", 1).lap(1.0)
    assert target.exists() == bool(theirs)
    assert not theirs or target.read_text() == theirs


def test_the_ordered_file_is_not_written_through_a_link(tmp_path):
    target = tmp_path / "theirs"
    target.write_text("theirs")
    (tmp_path / "results.jsonl.new").symlink_to(target)
    with Journal(tmp_path / "results.jsonl", MADE_BY) as journal:
        for name in "ab":
            journal.add(Transcript(name, None, 1.0, "text", "text"))
        journal.put_in_order(["b", "a"])
    assert target.read_text() == "theirs"
    assert list(read_results(tmp_path / "results.jsonl").transcripts) == ["b", "a"]


def test_a_text_of_gigabytes_beside_a_clip_is_refused(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    hole(tmp_path / "a.txt")
    with pytest.raises(ComposerError, match="R580 the data cannot be read: it has"):
        read_data(tmp_path)


def test_data_of_gigabytes_is_refused(tmp_path):
    hole(tmp_path / "data.jsonl")
    with pytest.raises(ComposerError, match=f"R580 the data has more than {RESULTS} bytes"):
        read_data(tmp_path / "data.jsonl")


def test_ends_of_lines_that_are_unicodes_stay_in_a_line(tmp_path):
    texts = ["a\u2028b", "c\x85d", "e\x1cf\x0b"]
    lines = [json.dumps({"audio": text, "text": text}, ensure_ascii=False) for text in texts]
    (tmp_path / "lines").write_text("\n".join(lines) + "\n", "utf-8")
    assert read_lines(tmp_path / "lines") == lines
    (tmp_path / "lines").write_text("")
    assert read_lines(tmp_path / "lines") == []


def test_a_file_is_read_whole(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert read_whole(tmp_path / "file", 3) == b"abc"
    with pytest.raises(OSError, match="it has 3 bytes; the limit is 2"):
        read_whole(tmp_path / "file", 2)

import json

import pytest

from composer.core.errors import ComposerError
from composer.evaluation.timing import Clock


@pytest.fixture
def passing(monkeypatch):
    """Let time pass only as the test says."""
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_time_is_counted_over_sessions(tmp_path, passing):
    path = tmp_path / "times.jsonl"
    first = Clock(path, 1)
    passing(50)
    first.start()
    for _ in range(2):
        passing(2)
        first.lap(8)
    passing(1000)
    second = Clock(path, 4)
    second.start()
    passing(1)
    second.lap(4)
    passing(1)
    second.lap(None)
    found = second.speed()
    assert (found.audio, found.wall, found.sessions, found.jobs) == (20, 6, 2, (1, 4))
    assert found.rtf == 6 / 20
    assert Clock(path, 1).speed() == found


def test_a_line_that_was_cut_off_does_not_count(tmp_path, passing):
    path = tmp_path / "times.jsonl"
    row = json.dumps({"session": 1, "jobs": 1, "audio": 3.0, "at": 1.0})
    path.write_text(f"{row}\n{row[:20]}")
    clock = Clock(path, 1)
    clock.start()
    passing(1)
    clock.lap(3)
    assert Clock(path, 1).speed().audio == 6
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "line",
    [b"[]", b"\xff", b'{"session": "a", "jobs": 1, "audio": 1.0, "at": 1.0}',
     b'{"session": 1, "jobs": 1, "audio": NaN, "at": 1.0}',
     b'{"session": 1, "jobs": 1, "audio": 1.0, "at": null}'],
)  # fmt: skip
def test_a_line_that_is_no_lap_is_an_error(tmp_path, line):
    path = tmp_path / "times.jsonl"
    path.write_bytes(b'{"session": 1, "jobs": 1, "audio": 3.0, "at": 1.0}\n' + line + b"\n")
    with pytest.raises(ComposerError) as caught:
        Clock(path, 1)
    assert str(caught.value).startswith(f"{path}:2: R571 this is no lap of the clock: ")


def test_a_file_that_cannot_be_written(tmp_path):
    clock = Clock(tmp_path / "no" / "times.jsonl", 1)
    with pytest.raises(ComposerError, match="R507 cannot write: No such file or directory"):
        clock.lap(1)


def test_no_audio():
    assert Clock(None, 1).speed().rtf is None

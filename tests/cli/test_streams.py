"""A standard stream that is full, closed or unread changes the exit code, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
CLIP = next((Path(__file__).parents[2] / "bundles" / "mega-asr-mini" / "clips").glob("*.flac"))
COMPOSER = [sys.executable, "-P", "-m", "composer"]
TAP = ["tap", "mega-asr-mini", "-i", f"audio={CLIP}", "-o"]
HELP = {"help": ["--help"], "version": ["--version"], "a verb's": ["check", "--help"]}


def call(*arguments, **streams):
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run([*COMPOSER, *map(str, arguments)], text=True, check=False, **given)


@pytest.fixture
def unread():
    """Return a pipe that nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    yield writes
    os.close(writes)


@pytest.fixture
def full():
    if not FULL.exists():
        pytest.skip("this system has no /dev/full")
    with FULL.open("w") as file:
        yield file


@pytest.mark.parametrize("arguments", HELP.values(), ids=HELP)
def test_help_that_there_is_no_room_for(arguments, full):
    done = call(*arguments, stdout=full)
    expected = "R589 the system refused it: No space left on device\n"
    assert (done.returncode, done.stderr) == (5, expected)


@pytest.mark.parametrize("arguments", HELP.values(), ids=HELP)
def test_help_that_nobody_reads(arguments, unread):
    done = call(*arguments, stdout=unread)
    assert (done.returncode, done.stderr) == (141, "")


def test_notes_that_there_is_no_room_for_stop_no_work(full, tmp_path):
    dump = tmp_path / "dump.safetensors"
    assert call(*TAP, dump, stderr=full).returncode == 0
    assert dump.is_file()


def test_notes_that_nobody_reads_stop_no_work(unread, tmp_path):
    dump = tmp_path / "dump.safetensors"
    assert call(*TAP, dump, stderr=unread).returncode == 0
    assert dump.is_file()


@pytest.mark.parametrize("arguments", [["nonsense"], ["check"], ["check", "nowhere"]])
def test_an_error_keeps_its_code_without_room_for_its_text(arguments, full):
    assert call(*arguments, stderr=full).returncode == call(*arguments).returncode > 1

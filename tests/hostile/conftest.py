"""Check what every refusal of a hostile bundle owes: named, quick, and nothing left behind."""

import time

import pytest

from tests.cli.conftest import cli
from tests.formats.conftest import repo
from tests.sources.conftest import hub, hub_home, new_process

__all__ = ["cli", "hub", "hub_home", "new_process", "repo"]

BUDGET = 60.0  # seconds, on a machine that does much else


def is_downloaded(folder):
    """List the files below a folder with their sizes."""
    return {
        str(path.relative_to(folder)): path.lstat().st_size
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


@pytest.fixture
def error_text(cli):
    """Check a bundle that must be refused, and return the words.

    The exit code is 3, the file and a reason are named, no traceback is shown, the folder is as it
    was, and it took no longer than its budget.
    """

    def call(folder, file, *arguments):
        before, began = is_downloaded(folder), time.perf_counter()
        code, out, err = cli("check", folder, *arguments)
        assert time.perf_counter() - began < BUDGET
        assert code == 3, out + err
        assert file in err
        assert "Traceback" not in err
        assert out.count(": refused, ") == out.count("\n") == 1
        assert is_downloaded(folder) == before
        return err

    return call

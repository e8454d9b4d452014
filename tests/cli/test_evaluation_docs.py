"""What docs/evaluation.md shows is what the commands print."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```text\n\$ composer ([^\n]*)\n(.*?)```", re.DOTALL)


def comparable(text):
    """Leave out what another machine or another day changes, and where lines break for it."""
    text = re.sub(r"(?m)^speed .*\n", "", text)
    text = re.sub(r"(?m)^bundle .*\n", "", text)
    return re.sub(r"(?ms)^versions .*?(?=^\n|\Z)", "", text)


@pytest.mark.slow
def test_the_examples(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "90")
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    shown = BLOCK.findall((ROOT / "docs" / "evaluation.md").read_text())
    assert len(shown) == 3
    for command, printed in shown:
        code, out, err = cli(*shlex.split(command))
        assert code == 0, err
        assert comparable(err + out) == comparable(printed)

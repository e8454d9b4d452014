"""Every case has a test that names it, or a reason why there is none."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent
SOURCES = [
    *(path for path in HERE.glob("test_*.py") if path.name != Path(__file__).name),
    *(ROOT / "formats").glob("test_*.py"),
]
CASES = {"A": 61, "B": 44, "C": 38, "D": 30, "F": 10, "G": 60}
NOT_HERE = {
    "C38": "test_stack.py and onnx_graph/test_session.py change a file between check and load",
    "G55": "hours of silence through voice activity detection, which there is not yet",
    "G59": "root reads everything: skipped where the tests run as root",
}


def named():
    """Return the cases that tests name: `"C12 shape is not bytes"`, or test_a25_a26_gated."""
    found = set()
    for path in SOURCES:
        text = path.read_text()
        found |= set(re.findall(r"\b([A-G]\d{1,2})\b", text))
        for name in re.findall(r"def test_(\w+)", text):
            found |= {case.upper() for case in re.findall(r"(?<![a-z\d])([a-g]\d{1,2})(?=_)", name)}
    return found


@pytest.mark.parametrize(("group", "count"), CASES.items())
def test_every_case_is_named(group, count):
    expected = {f"{group}{number}" for number in range(1, count + 1)}
    assert expected - named() - NOT_HERE.keys() == set()

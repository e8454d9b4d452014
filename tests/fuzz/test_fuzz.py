"""A few seconds of what `scripts/fuzz MINUTES` does for longer; FUZZ_SECONDS sets how many."""

import os

import pytest

from tests.fuzz.__main__ import MEMORY, run
from tests.fuzz.readers import READERS, read

SECONDS = int(os.environ.get("FUZZ_SECONDS", "3"))


@pytest.mark.parametrize("name", READERS)
def test_a_reader_answers_or_refuses(name):
    found = run(name, SECONDS)
    assert found["fault"] == ""
    assert found["inputs"] > 10
    assert found["grown"] < MEMORY


@pytest.mark.parametrize("name", READERS)
def test_the_seeds_are_sound(name):
    for seed in READERS[name].seeds:
        read(name, seed)


def test_a_fault_would_be_seen(monkeypatch):
    monkeypatch.setitem(READERS, "manifest", READERS["manifest"].__class__(int, (b"x",), (b"x",)))
    with pytest.raises(ValueError, match="invalid literal"):
        read("manifest", b"x")

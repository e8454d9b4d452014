"""A second of what `scripts/fuzz MINUTES` does for longer; FUZZ_SECONDS sets how many."""

import os
import subprocess
import sys

import pytest

from tests.fuzz.__main__ import MEMORY, run
from tests.fuzz.readers import READERS, read
from tests.fuzz.worst import INPUTS

SECONDS = int(os.environ.get("FUZZ_SECONDS", "1"))


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


MEASURE = """
import resource, sys, time
from tests.fuzz.readers import READERS, read
from tests.fuzz.worst import INPUTS
name, make = INPUTS[sys.argv[1]]
for seed in READERS[name].seeds:
    read(name, seed)
data = make()
unit = 1 if sys.platform == "darwin" else 1024
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
read(name, data)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * unit, time.process_time() - began)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", INPUTS)
def test_the_costliest_inputs_cost_little(name):
    command = [sys.executable, "-c", MEASURE, name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, spent = map(float, done.stdout.split())
    print(f"{name}: {grown / 1e6:.0f} MB, {spent:.2f} s")
    assert grown < MEMORY
    assert spent < 30

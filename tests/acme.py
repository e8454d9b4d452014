"""A package of somebody else that adds a backend, components, operators and formats."""

import sys
from textwrap import dedent

import pytest

from composer.core import registry
from tests.fakes import write

MODULE = '''
from typing import Literal

import numpy as np

from composer import Component, Facts, method
from composer.components.numpy.network import NumpyNetwork
from composer.core.backend import Colours, NumpyArrays
from composer.core.operator import operator
from composer.core.placement import PlacementKey
from composer.evaluation.normalizer import Normalizer
from composer.jobs.output_format import OutputFormat


class Array:
    """Numbers in a memory of their own."""

    def __init__(self, numbers):
        self.numbers = numbers
        self.shape = numbers.shape

    def __getitem__(self, key):
        return Array(self.numbers[key])


class Acme(NumpyArrays):
    name = arrays = "acme"
    title = "Acme board"
    packages = ("PyYAML",)
    array_type = "acme_local.Array"
    colours = Colours("#010203", "#040506", "#070809", "#0a0b0c")
    placement = (
        PlacementKey("board", Literal["a1", "a2"], "Which board computes."),
        PlacementKey("device", Literal["npu"], "Where Acme computes."),
    )

    def suitability(self):
        return 9, "there is a board"

    def compile(self, network, placement):
        function = NumpyNetwork(network)
        return lambda *inputs: Array(function(*(each.numbers for each in inputs)))

    def concat(self, parts):
        return Array(np.concatenate([each.numbers for each in parts]))

    def diagnose(self):
        return "computes on board a1"

    def shape(self, value):
        return value.shape

    def dtype(self, value):
        return {np.dtype("float32"): "f32"}[value.numbers.dtype]

    def to_numpy(self, value):
        return value.numbers

    def from_numpy(self, value, dtype):
        assert dtype == "f32"
        return Array(value)

    def cast(self, value, dtype):
        raise TypeError("Acme has one dtype")

    def native_turn(x, *, by):
        assert isinstance(x, Array)
        return Array(np.roll(x.numbers, by, 0))

    operators = {"turn": native_turn}


class Double(Component, name="acme.double"):
    """Double numbers on a board."""

    backend = "acme"
    placement_keys = frozenset({"board"})

    @classmethod
    def load(cls, spec, facts, placement):
        if placement.get("board") == "a2":
            raise RuntimeError("there is no second board")
        return cls()

    @method(x="f32 N", returns="f32 N")
    def __call__(self, x):
        assert isinstance(x, Array)
        return Array(x.numbers * 2)


@operator(x="f32 N", returns="f32 N")
def turn(x: np.ndarray, *, by: int) -> np.ndarray:
    """Move numbers along."""
    assert isinstance(x, np.ndarray)
    return np.roll(x, by, 0)


@operator(x="f32 N", returns={"low": "f32", "high": "f32"})
def bounds(x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the least and the greatest number."""
    return {"low": np.array(x.min()), "high": np.array(x.max())}


def in_shouts(text, fields):
    return text.upper()


LOUD = Normalizer("loud", "2", "upper case", in_shouts)
LRC = OutputFormat(
    "lrc",
    "subtitles",
    document=lambda every: "".join(f"{n}\\n{each.text}\\n\\n" for n, each in enumerate(every, 1)),
    file=lambda each: f"1\\n{each.text}\\n",
)
SBV = OutputFormat("sbv", "captions", line=lambda each: f"NOTE {each.text}")
'''
ENTRIES = """
[composer.backends]
acme = acme_local:Acme
[composer.components]
acme.double = acme_local:Double
[composer.operators]
turn = acme_local:turn
bounds = acme_local:bounds
[composer.normalizers]
loud = acme_local:LOUD
[composer.output_formats]
lrc = acme_local:LRC
sbv = acme_local:SBV
"""
BUNDLE = """\
composer: 1
name: two-boards
components: {double: {use: acme.double}}
inputs: {x: {type: tensor, port: f32 N}}
graph:
  before: {run: turn, with: {x: $x, by: 1}}
  twice: {run: double, with: {x: $before}}
  after: {run: turn, with: {x: $twice, by: 1}}
  ends: {run: bounds, with: {x: $after}}
outputs: {y: $after, low: $ends.low, high: $ends.high}
"""


def install(folder, entries, module):
    """Write a distribution into a folder."""
    info = folder / "acme_local-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-local\nVersion: 1\n")
    (info / "entry_points.txt").write_text(dedent(entries))
    (folder / "acme_local.py").write_text(module)


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """Install a package that adds a backend, a component and operators."""
    folder = tmp_path / "site"
    folder.mkdir()
    install(folder, ENTRIES, MODULE)
    monkeypatch.syspath_prepend(folder)
    registry.rediscover()
    yield
    sys.modules.pop("acme_local", None)
    monkeypatch.undo()
    registry.rediscover()


@pytest.fixture
def path(acme, tmp_path):
    return write(tmp_path, BUNDLE)

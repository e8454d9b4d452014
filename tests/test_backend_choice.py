"""A `use` that names a family is run by what suits the machine, or by what the user asks for."""

import numpy as np
import pytest

import composer
from composer.core import registry
from composer.core.component import Component, ComponentConfig, Facts, method
from composer.core.errors import ComposerError, Problem

BUNDLE = """\
composer: 1
name: tiny
components: {part: {use: twice}}
inputs: {x: {type: tensor, port: "f32 N"}}
graph: {y: {run: part, with: {x: $x}}}
outputs: {y: $y}
"""


def part(kind, factor, refuses=False):
    class Part(Component, name=kind):
        """Multiply by a number of its own."""

        class Config(ComponentConfig):
            """None."""

        @classmethod
        def facts(cls, spec, headers):
            if refuses:
                raise ComposerError(Problem("W299", "this network has no such layer"))
            return Facts()

        @classmethod
        def load(cls, spec, facts, placement):
            return cls()

        @method(x="f32 N", returns="f32 N")
        def __call__(self, x):
            return x * factor

    return Part


@pytest.fixture
def family(monkeypatch):
    """Register twice for MLX, for ONNX Runtime and for NumPy, distinguished by what they give."""

    def register(**refuses):
        for backend, factor in (("mlx", 2), ("onnx", 3), ("numpy", 5)):
            kind = part(f"{backend}.twice", factor, refuses.get(backend, False))
            monkeypatch.setitem(registry._added, kind.name, kind)

    return register


@pytest.fixture
def bundle(tmp_path):
    path = tmp_path / "bundle.yaml"
    path.write_text(BUNDLE)
    return path


def suits(monkeypatch, **ranks):
    for name, rank in ranks.items():
        backend = registry.backend(name)
        monkeypatch.setattr(backend, "suitability", lambda rank=rank: (rank, "so the test says"))


def given(bundle, **options):
    with composer.load(bundle, **options) as loaded:
        return float(loaded.run(x=np.ones(1, np.float32)).outputs["y"][0])


def chosen(bundle, **options):
    report = composer.check(bundle, **options)
    assert report.ok, report.problems
    known = report.bundle.components["part"]
    return known.cls.name, known.reason


def test_what_suits_the_machine_runs_it(family, bundle, monkeypatch):
    family()
    suits(monkeypatch, mlx=1, onnx=2, numpy=0)
    assert given(bundle) == 3
    suits(monkeypatch, mlx=3, onnx=2, numpy=0)
    assert given(bundle) == 2
    assert chosen(bundle) == ("mlx.twice", "so the test says")


def test_a_backend_can_be_asked_for(family, bundle):
    family()
    for name, factor in (("mlx", 2), ("onnx", 3), ("numpy", 5)):
        assert given(bundle, backends={"part": name}) == factor
        assert given(bundle, backends={"*": name}) == factor
    assert chosen(bundle, backends={"part": "mlx"}) == ("mlx.twice", "asked for")
    assert given(bundle, backends={"*": "mlx", "part": "onnx"}) == 3


def test_a_profile_asks_as_well(family, bundle, tmp_path):
    family()
    profile = tmp_path / "profile.yaml"
    profile.write_text("backend: mlx\n")
    assert given(bundle, profile=composer.read_profile(profile)) == 2
    profile.write_text("backend: mlx\ncomponents: {part: {backend: numpy}}\n")
    assert given(bundle, profile=composer.read_profile(profile)) == 5


def test_a_prefix_pins_the_backend(family, bundle, monkeypatch):
    family()
    suits(monkeypatch, mlx=1, onnx=2, numpy=0)
    bundle.write_text(BUNDLE.replace("use: twice", "use: mlx.twice"))
    assert given(bundle) == 2
    assert given(bundle, backends={"*": "onnx"}) == 2
    assert chosen(bundle) == ("mlx.twice", "the manifest names it")


def test_the_next_best_runs_what_the_best_refuses(family, bundle, monkeypatch):
    family(onnx=True)
    suits(monkeypatch, mlx=1, onnx=2, numpy=0)
    why = "onnx.twice refuses it: W299 this network has no such layer"
    assert chosen(bundle) == ("mlx.twice", why)


def test_what_is_asked_for_is_not_replaced(family, bundle):
    family(onnx=True)
    report = composer.check(bundle, backends={"part": "onnx"})
    assert [problem.code for problem in report.problems] == ["W299"]


def test_the_best_says_what_is_wrong_where_all_refuse(family, bundle, monkeypatch):
    family(mlx=True, onnx=True, numpy=True)
    suits(monkeypatch, mlx=1, onnx=2, numpy=0)
    report = composer.check(bundle)
    assert [problem.code for problem in report.problems] == ["W299"]


def test_a_backend_that_the_family_has_not(family, bundle, tmp_path):
    family()
    report = composer.check(bundle, backends={"part": "cuda", "prat": "mlx"})
    assert [str(problem).replace(f"{tmp_path}/", "") for problem in report.problems] == [
        "bundle.yaml:3:13: W219 a backend is given for 'prat', which is not a component\n"
        "    hint: components: part",
        "bundle.yaml:3:26: W226 twice has no kind for the backend 'cuda'\n"
        "    hint: it runs on: mlx, numpy, onnx",
    ]

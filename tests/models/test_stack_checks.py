"""Checks of a stack: widths, tensors under its prefix, settings, and rows in a manifest."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

import composer
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats import Headers
from composer.manifest.source import read_document_file
from tests.models.backends import BACKENDS
from tests.models.stack_inputs import T, X, draw, folder, run
from tests.models.test_stack import Stack, error_text
from tests.models.test_stack import spec as make_spec

__all__ = ["folder"]


def test_widths_and_rows_follow_from_the_layers(folder):
    layers = [
        {"stack_frames": {"by": 5, "remainder": "drop"}},
        "rms_norm",
        "linear",
        {"swiglu": {"gate": "second"}},
        {"pool": {"by": 2, "mode": "mean", "remainder": "keep"}},
    ]
    weights = {"1.weight": draw(60), "2.weight": draw(14, 60)}
    facts = Stack.facts(make_spec(folder, weights, layers=layers), Headers())
    assert {name: bound.value for name, bound in facts.dims.items()} == {"I": 12, "O": 7}
    assert facts.dims["I"].witness == ("repo/projector: 2.weight [14, 60], 5 rows side by side")
    assert facts.dims["O"].witness == "repo/projector: 2.weight [14, 60], halved by swiglu"
    ports = facts.methods["__call__"]
    assert str(ports.inputs["x"][0]) == "N I"
    assert str(ports.returns["out"]) == "R O"
    rule = ports.lengths["R"]
    assert [rule.count(n) for n in (5, 9, 10, 15, 23)] == [1, 1, 1, 2, 2]
    assert rule.words == "stack_frames by 5, pool by 2"


@pytest.mark.parametrize(
    ("layers", "weights", "message"),
    [
        (
            [{"stack_frames": {"by": 5, "remainder": "drop"}}, "linear"],
            {"1.weight": draw(4, 12)},
            "W247 layer 1 (linear) takes width 12, which cannot be after: 5 rows side by side",
        ),
        (
            ["linear", {"swiglu": {"gate": "first"}}, "linear"],
            {"0.weight": draw(7, 12), "2.weight": draw(4, 3)},
            "W247 layer 1 (swiglu) halves rows, but their width is 7",
        ),
        (
            ["linear", {"swiglu": {"gate": "first"}}, "linear"],
            {"0.weight": draw(20, 12), "2.weight": draw(8, 20)},
            "W247 layer 2 (linear) takes width 20, but 10 comes in",
        ),
        (
            ["linear", {"stack_frames": {"by": 2, "remainder": "drop"}}, "linear"],
            {"0.weight": draw(20, 12), "2.weight": draw(8, 20)},
            "W247 layer 2 (linear) takes width 20, but 40 comes in",
        ),
    ],
)
def test_widths_that_do_not_chain_are_refused(folder, layers, weights, message):
    assert message in error_text(make_spec(folder, weights, layers=layers))


def test_tensors_beside_the_prefix_are_others(folder):
    weights = {
        "projector.0.weight": draw(4, 12),
        "encoder.layers.0.weight": draw(3, 3),
        "projector_norm.weight": draw(3).astype(np.float16),
    }
    component_spec = make_spec(folder, weights, layers=["linear"], prefix="projector")
    np.testing.assert_allclose(run(component_spec), X @ weights["projector.0.weight"].T, atol=1e-5)
    assert Stack.facts(component_spec, Headers()).nbytes == 4 * 48
    assert "W248 tensors that no layer has: encoder.layers.0.weight" in error_text(
        make_spec(folder, weights, layers=["linear"])
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("projector.1.weight", "W248 tensors that no layer has: projector.1.weight"),
        ("projector.scale", "W248 tensors that no layer has: projector.scale"),
        ("projector.layers.0.weight", "W248 tensors that no layer has: projector.0.weight"),
    ],
)
def test_it_is_strict_under_its_prefix(folder, more, message):
    weights = {"projector.0.weight": draw(4, 12), "other.0.weight": draw(2), more: draw(4, 12)}
    component_spec = make_spec(folder, weights, layers=["linear"], prefix="projector")
    assert message in error_text(component_spec)


def test_a_missing_tensor_lists_those_under_the_prefix(folder):
    weights = {"projector.0.weight": draw(4, 12), "other.0.weight": draw(2)}
    component_spec = make_spec(folder, weights, layers=["linear", "linear"], prefix="projector")
    text = error_text(component_spec)
    assert "W248 missing tensors: projector.1.weight (linear)" in text
    assert "hint: the tensors are: projector.0.weight" in text
    assert "other" not in text


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["swiglu"], "swiglu has settings: write swiglu: {gate: first} or {gate: second}"),
        (["pool"], "pool has settings: write pool: {by: 2, mode: mean}"),
        (["swish"], "swish is called silu here"),
        (["quick_gelu"], "none of these layers"),
        (["swigl"], "there is no layer 'swigl'; did you mean 'swiglu'"),
        ([{"swiglu": {}}], "gate\n  Field required"),
        ([{"swiglu": {"gate": "left"}}], "Input should be 'first' or 'second'"),
        ([{"linear": {"bias": True}}], "linear has no settings: write its name alone"),
        ([{"conv": {"by": 2}}], "Extra inputs are not permitted"),
        ([{}], "a layer has one name, not none"),
        (
            [{"rms_norm": {"eps": 1e-6}, "layer_norm": {"eps": 1e-6}}],
            "a layer has one name, not layer_norm, rms_norm",
        ),
        ([{"stack_frames": {"remainder": "drop"}}], "by\n  Field required"),
        ([{"stack_frames": {"by": 0, "remainder": "drop"}}], "greater than or equal to 1"),
        ([{"stack_frames": {"by": 5, "remainder": "keep"}}], "'refuse', 'drop' or 'pad'"),
        ([{"pool": {"by": 5, "remainder": "pad"}}], "'refuse', 'drop' or 'keep'"),
        ([{"rms_norm": {"eps": 0.0}}], "greater than 0"),
    ],
)
def test_settings_are_strict(layers, message):
    with pytest.raises(ValidationError) as caught:
        Stack.Config(layers=layers)
    assert message in str(caught.value)


def test_an_epsilon_for_norms_that_all_have_their_own_is_refused():
    with pytest.raises(ValidationError, match="rms_norm_eps is set but each rms_norm has its own"):
        Stack.Config(layers=[{"rms_norm": {"eps": 1e-6}}], rms_norm_eps=1e-5)


def test_without_files_rows_are_divided_all_the_same():
    layers = [{"stack_frames": {"by": 5, "remainder": "drop"}}, "linear"]
    component_spec = Spec("p", Stack.Config(layers=layers), weights=Location("repo", "p", None))
    facts = Stack.facts(component_spec, None)
    assert facts.unknown
    assert str(facts.methods["__call__"].returns["out"]) == "R O"


GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "components.md"


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_stack_of_the_guide_is_a_projector_with_stacked_frames_and_swiglu(folder, backend):
    (block,) = re.findall(r"```yaml\n(projector:.*?)```", GUIDE.read_text(), re.DOTALL)
    (folder / "block.yaml").write_text(block)
    config = read_document_file(folder / "block.yaml").data["projector"]["config"]
    w = {
        "ln_pre": draw(96),
        "linear_1": draw(20, 96, seed=1),
        "linear_2": draw(6, 10, seed=2),
        "ln_post": draw(6, seed=3),
    }
    weights = {f"multi_modal_projector.{name}.weight": value for name, value in w.items()}
    weights["audio_tower.conv1.weight"] = draw(2, 2)
    w = {name: torch.tensor(value) for name, value in w.items()}
    wanted = functional.pad(T, (0, 0, 0, -len(T) % 8)).reshape(-1, 96)
    wanted = functional.rms_norm(wanted, (96,), w["ln_pre"], 1e-6) @ w["linear_1"].T
    rows, gate = wanted.chunk(2, dim=-1)
    wanted = (functional.silu(gate) * rows) @ w["linear_2"].T
    wanted = functional.rms_norm(wanted, (6,), w["ln_post"], 1e-6).numpy()
    out = run(make_spec(folder, weights, **config), backend=backend)
    np.testing.assert_allclose(out, wanted, atol=1e-4)


MANIFEST = """
composer: 1
name: joined
sources: {repo: ./}
components:
  projector: {use: mlx.stack, weights: repo/projector, config: {layers: LAYERS}}
inputs: {x: {type: tensor, port: PORT}}
graph:
  rows: {run: projector, with: {x: $x}}
outputs: {rows: $rows}
"""
LAYERS = "[{stack_frames: {by: 5, remainder: drop}}, linear]"


def write(folder, layers=LAYERS, port="f32 1500 12"):
    make_spec(folder, {"1.weight": draw(4, 60)}, layers=["linear"])
    text = MANIFEST.replace("LAYERS", layers).replace("PORT", port)
    (folder.parent / "bundle.yaml").write_text(text)
    return folder.parent


def test_the_checker_divides_a_known_number_of_rows(folder):
    graph = composer.check(write(folder)).bundle.graphs["default"]
    assert [graph.length(dim) for dim in graph.values["rows"].dims] == [300, 4]
    graph = composer.check(write(folder, port="f32 N 12")).bundle.graphs["default"]
    assert [graph.length(dim) for dim in graph.values["rows"].dims] == [None, 4]


def test_a_run_gives_as_many(folder):
    write(folder, port="f32 N 12")
    with composer.load(folder.parent) as bundle:
        assert bundle.run(x=X).outputs["rows"].shape == (4, 4)
        with pytest.raises(ComposerError) as caught:
            bundle.run(x=X[:3])
    text = str(caught.value)
    assert "R552 layer 0 (stack_frames) takes 5 rows at a time, and 3 come in" in text
    assert "at node 'rows' (projector), given x f32 [3, 12]" in text


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            "[linear, swiglu]",
            "bundle.yaml:6:82: M124 components.projector.config.layers[1]: swiglu has settings: "
            "write swiglu: {gate: first} or {gate: second}",
        ),
        (
            "[linear, {swiglu: {}}]",
            "bundle.yaml:6:83: M122 components.projector.config.layers[1].swiglu needs the key "
            "'gate'\n    hint: gate: the half that goes through the activation: `first` as in a "
            "fused gate_up_proj, `second` as in Ultravox and in diffusers",
        ),
        (
            "[linear, {swiglu: {gate: left}}]",
            "bundle.yaml:6:98: M124 components.projector.config.layers[1].swiglu.gate cannot be "
            "'left'\n    hint: choose from: first, second",
        ),
        (
            "[{linear: {bias: false}}]",
            "bundle.yaml:6:74: M124 components.projector.config.layers[0]: linear has no settings: "
            "write its name alone",
        ),
    ],
)
def test_errors_of_nested_settings_have_their_place(folder, layers, message, monkeypatch):
    write(folder, layers)
    monkeypatch.chdir(folder.parent)
    assert message in "\n".join(map(str, composer.check("bundle.yaml").problems))

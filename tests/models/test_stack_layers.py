"""Layers that join, pool and gate rows, against torch, and wrong ones that differ."""

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
from composer.core.placement import Placement
from composer.formats import Headers
from composer.manifest.source import read
from tests.models.backends import BACKENDS, arrays, family, plain
from tests.models.test_stack import Stack, error_text
from tests.models.test_stack import spec as make_spec

X = np.random.default_rng(1).normal(0, 2, (23, 12)).astype(np.float32)
T = torch.tensor(X)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(0.1, 0.4, shape).astype(np.float32)


def run(component_spec, x=X, backend="mlx"):
    kind = family("stack", backend)
    component = kind.load(component_spec, kind.facts(component_spec, Headers()), Placement())
    return plain(component(arrays(component, x)))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "projector"
    made.mkdir()
    return made


def gated(kind, gate):
    """Return the layers with a gate between two linear ones, and what torch makes of X."""
    weights = {
        "0.weight": draw(20, 12),
        "0.bias": draw(20, seed=1),
        "2.weight": draw(8, 10, seed=2),
    }
    act = {
        "swiglu": functional.silu,
        "geglu": functional.gelu,
        "geglu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    }[kind]
    first, second = functional.linear(
        T, torch.tensor(weights["0.weight"]), torch.tensor(weights["0.bias"])
    ).chunk(2, dim=-1)
    joined = act(first) * second if gate == "first" else act(second) * first
    return weights, (joined @ torch.tensor(weights["2.weight"]).T).numpy()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gate", ["first", "second"])
@pytest.mark.parametrize("kind", ["swiglu", "geglu", "geglu_tanh"])
def test_gates_are_those_of_torch(folder, kind, gate, backend):
    weights, wanted = gated(kind, gate)
    component_spec = make_spec(folder, weights, layers=["linear", {kind: {"gate": gate}}, "linear"])
    np.testing.assert_allclose(run(component_spec, backend=backend), wanted, atol=1e-5)


def test_the_other_half_and_another_gate_are_something_else(folder):
    weights, wanted = gated("geglu", "first")
    for kind, gate, distance in (
        ("geglu", "second", 0.1),
        ("swiglu", "first", 0.05),
        ("geglu_tanh", "first", 5e-5),
    ):
        component_spec = make_spec(
            folder, weights, layers=["linear", {kind: {"gate": gate}}, "linear"]
        )
        assert np.abs(run(component_spec) - wanted).max() > distance


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_norm_may_have_its_own_epsilon(folder, backend):
    small = X * 1e-3
    weights = {f"{n}.weight": draw(12, seed=n) for n in range(3)} | {"0.bias": draw(12, seed=7)}
    layers = ["layer_norm", {"rms_norm": {"eps": 1e-2}}, {"layer_norm": {"eps": 1e-2}}]
    w = {name: torch.tensor(value) for name, value in weights.items()}
    wanted = functional.layer_norm(torch.tensor(small), (12,), w["0.weight"], w["0.bias"], 1e-6)
    wanted = functional.rms_norm(wanted, (12,), w["1.weight"], 1e-2)
    wanted = functional.layer_norm(wanted, (12,), w["2.weight"], None, 1e-2).numpy()
    out = run(make_spec(folder, weights, layers=layers, layer_norm_eps=1e-6), small, backend)
    np.testing.assert_allclose(out, wanted, atol=1e-5)
    for wrong in (
        ["layer_norm", "rms_norm", layers[2]],
        ["layer_norm", layers[1], "layer_norm"],
        [{"layer_norm": {"eps": 1e-2}}, layers[1], "layer_norm"],
    ):
        out = run(make_spec(folder, weights, layers=wrong, layer_norm_eps=1e-6), small, backend)
        assert np.abs(out - wanted).max() > 1e-3


def stacked(by, remainder):
    left = -len(T) % by
    rows = T[: len(T) - len(T) % by] if remainder == "drop" else functional.pad(T, (0, 0, 0, left))
    return rows.reshape(-1, by * T.shape[1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("remainder", ["drop", "pad"])
@pytest.mark.parametrize("by", [2, 5, 23])
def test_frames_are_stacked_as_torch_views_them(folder, by, remainder, backend):
    weight = draw(6, 12 * by)
    layers = [{"stack_frames": {"by": by, "remainder": remainder}}, "linear"]
    out = run(make_spec(folder, {"1.weight": weight}, layers=layers), backend=backend)
    np.testing.assert_allclose(out, stacked(by, remainder).numpy() @ weight.T, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_frames_may_be_stacked_after_a_matrix(folder, backend):
    first, last = draw(4, 12), draw(3, 20, seed=3)
    layers = ["linear", {"stack_frames": {"by": 5, "remainder": "drop"}}, "linear", "relu"]
    component_spec = make_spec(folder, {"0.weight": first, "2.weight": last}, layers=layers)
    wanted = (T[:20] @ torch.tensor(first).T).reshape(-1, 20) @ torch.tensor(last).T
    out = run(component_spec, backend=backend)
    np.testing.assert_allclose(out, wanted.relu().numpy(), atol=1e-4)


def test_frames_side_by_side_in_another_order_are_something_else():
    rows = stacked(5, "drop")
    other = T[:20].reshape(-1, 5, 12).transpose(1, 2).reshape(-1, 60)
    assert (rows - other).abs().max() > 1


def pooled(by, mode, remainder):
    """Pool by torch, whose ceil_mode leaves what is beyond the end out of the mean."""
    function = {"mean": functional.avg_pool1d, "max": functional.max_pool1d}[mode]
    return function(T.T[None], by, by, ceil_mode=remainder == "keep")[0].T.numpy()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("remainder", ["drop", "keep"])
@pytest.mark.parametrize("mode", ["mean", "max"])
@pytest.mark.parametrize("by", [2, 5])
def test_pools_are_those_of_torch(folder, by, mode, remainder, backend):
    layers = ["linear", {"pool": {"by": by, "mode": mode, "remainder": remainder}}]
    component_spec = make_spec(folder, {"0.weight": np.eye(12, dtype=np.float32)}, layers=layers)
    out = run(component_spec, backend=backend)
    np.testing.assert_allclose(out, pooled(by, mode, remainder), atol=1e-5)


@pytest.mark.parametrize("mode", ["mean", "max"])
def test_zeros_in_the_last_group_would_be_something_else(mode):
    keep, drop = pooled(5, mode, "keep"), pooled(5, mode, "drop")
    zeros = np.pad(X[20:], ((0, 2), (0, 0)))
    zeros = zeros.mean(0) if mode == "mean" else zeros.max(0)
    assert np.abs(keep[-1] - zeros).max() > 0.1
    assert len(drop) == len(keep) - 1
    np.testing.assert_array_equal(keep[:-1], drop)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_mean_is_taken_in_float32(folder, precision):
    layers = ["linear", {"pool": {"by": 500, "mode": "mean", "remainder": "keep"}}]
    weights = {"0.weight": np.eye(12, dtype=np.float32)}
    component_spec = make_spec(folder, weights, layers=layers, precision=precision)
    x = np.full((1000, 12), 300, np.float32)
    np.testing.assert_array_equal(run(component_spec, x), 300)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("layer", "count", "message"),
    [
        (
            {"stack_frames": {"by": 5, "remainder": "refuse"}},
            23,
            "R552 layer 0 (stack_frames) takes 5 rows at a time, and 23 come in",
        ),
        (
            {"pool": {"by": 4, "mode": "max", "remainder": "refuse"}},
            23,
            "R552 layer 0 (pool) takes 4 rows at a time, and 23 come in",
        ),
        (
            {"stack_frames": {"by": 5, "remainder": "drop"}},
            3,
            "R552 layer 0 (stack_frames) takes 5 rows at a time, and 3 come in",
        ),
        (
            {"pool": {"by": 2, "mode": "mean", "remainder": "keep"}},
            0,
            "R552 layer 0 (pool) takes 2 rows at a time, and 0 come in",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused(folder, layer, count, message, backend):
    by = layer["stack_frames"]["by"] if "stack_frames" in layer else 1
    component_spec = make_spec(folder, {"1.weight": draw(4, 12 * by)}, layers=[layer, "linear"])
    with pytest.raises(ComposerError) as caught:
        run(component_spec, X[:count], backend)
    assert str(caught.value).startswith(message)


def test_rows_that_fit_are_not_refused(folder):
    layers = [{"stack_frames": {"by": 5, "remainder": "refuse"}}, "linear"]
    assert run(make_spec(folder, {"1.weight": draw(4, 60)}, layers=layers), X[:20]).shape == (4, 4)


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
        (["swiglu"], "swiglu has knobs: write swiglu: {gate: first} or {gate: second}"),
        (["pool"], "pool has knobs: write pool: {by: 2, mode: mean}"),
        (["swish"], "swish is called silu here"),
        (["quick_gelu"], "none of these layers"),
        (["swigl"], "there is no layer 'swigl'; did you mean 'swiglu'"),
        ([{"swiglu": {}}], "gate\n  Field required"),
        ([{"swiglu": {"gate": "left"}}], "Input should be 'first' or 'second'"),
        ([{"linear": {"bias": True}}], "linear has no knobs: write its name alone"),
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
def test_knobs_are_strict(layers, message):
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
    config = read(folder / "block.yaml").data["projector"]["config"]
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
            "bundle.yaml:6:82: M124 components.projector.config.layers[1]: swiglu has knobs: write "
            "swiglu: {gate: first} or {gate: second}",
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
            "bundle.yaml:6:74: M124 components.projector.config.layers[0]: linear has no knobs: "
            "write its name alone",
        ),
    ],
)
def test_errors_of_nested_knobs_have_their_place(folder, layers, message, monkeypatch):
    write(folder, layers)
    monkeypatch.chdir(folder.parent)
    assert message in "\n".join(map(str, composer.check("bundle.yaml").problems))

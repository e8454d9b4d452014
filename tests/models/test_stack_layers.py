"""Layers that join, pool and gate rows, against torch, and wrong ones that differ."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from composer.core.errors import ComposerError
from tests.models.backends import BACKENDS
from tests.models.stack_inputs import T, X, draw, folder, run
from tests.models.test_stack import spec as make_spec

__all__ = ["folder"]


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

import os

import mlx.core as mx
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import save_file

from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.models.backends import BACKENDS, arrays, family, plain

Stack = family("stack", "mlx")
LAYERS = ["layer_norm", "linear", "silu", "linear", "rms_norm"]
X = np.random.default_rng(9).normal(0, 2, (7, 24)).astype(np.float32)


def tensors():
    draw = np.random.default_rng(0)
    shapes = {
        "0.weight": (24,),
        "0.bias": (24,),
        "1.weight": (20, 24),
        "1.bias": (20,),
        "3.weight": (16, 20),
        "4.weight": (16,),
    }
    return {name: draw.normal(0.3, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def spec(folder, weights=None, precision=None, **config):
    save_file(tensors() if weights is None else weights, folder / "model.safetensors")
    config.setdefault("layers", LAYERS)
    location = Location("repo", "", folder.parent) / folder.name
    return Spec("projector", Stack.Config(**config), weights=location, precision=precision)


def load(component_spec, kind=Stack):
    return kind.load(component_spec, kind.facts(component_spec, Headers()), Placement())


def run(component_spec, x=X, backend="mlx"):
    component = load(component_spec, family("stack", backend))
    return plain(component(arrays(component, x)))


def error_text(component_spec):
    with pytest.raises(ComposerError) as caught:
        Stack.facts(component_spec, Headers())
    return str(caught.value)


def test_weights_that_changed_since_the_check_are_refused(tmp_path):
    folder = tmp_path / "repo"
    folder.mkdir()
    component_spec = spec(folder)
    facts = Stack.facts(component_spec, Headers())
    file = folder / "model.safetensors"
    os.utime(file, (1, 1))
    with pytest.raises(ComposerError, match=r"R530 repo/repo/model\.safetensors: changed after"):
        Stack.load(component_spec, facts, Placement())


@pytest.mark.parametrize("how", ["in place", "another file"])
def test_weights_whose_time_was_set_back_are_refused(tmp_path, how):
    folder = tmp_path / "repo"
    folder.mkdir()
    component_spec = spec(folder)
    facts = Stack.facts(component_spec, Headers())
    file = folder / "model.safetensors"
    before, data = file.stat(), file.read_bytes()
    if how == "another file":
        file.unlink()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ComposerError, match=r"R530 repo/repo/model\.safetensors: changed after"):
        Stack.load(component_spec, facts, Placement())


def test_weights_that_change_while_they_are_read_are_refused(tmp_path):
    folder = tmp_path / "repo"
    folder.mkdir()
    facts = Stack.facts(spec(folder), Headers())
    facts.require_unchanged()
    os.utime(folder / "model.safetensors", (1, 1))
    with pytest.raises(ComposerError, match=r"R530 repo/repo/model\.safetensors: changed after"):
        facts.require_unchanged()


def in_numpy(x, w, eps=1e-5, rms_eps=1e-5):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    x = x * w["0.weight"] + w["0.bias"]
    x = x @ w["1.weight"].T + w["1.bias"]
    x = x / (1 + np.exp(-x))
    x = x @ w["3.weight"].T
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + rms_eps) * w["4.weight"]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "projector"
    made.mkdir()
    return made


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_the_stack_in_numpy_and_in_torch(folder, backend):
    out = run(spec(folder), backend=backend)
    np.testing.assert_allclose(out, in_numpy(X, tensors()), atol=1e-5)
    theirs = torch.nn.Sequential(
        torch.nn.LayerNorm(24),
        torch.nn.Linear(24, 20),
        torch.nn.SiLU(),
        torch.nn.Linear(20, 16, bias=False),
        torch.nn.RMSNorm(16, eps=1e-5),
    )
    theirs.load_state_dict({name: torch.tensor(value) for name, value in tensors().items()})
    np.testing.assert_allclose(out, theirs(torch.tensor(X)).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["gelu", "gelu_tanh", "relu", "silu"])
def test_activations_are_those_of_torch(folder, kind, backend):
    weights = {"0.weight": np.eye(24, dtype=np.float32)}
    functions = {
        "gelu": torch.nn.GELU(),
        "gelu_tanh": torch.nn.GELU("tanh"),
        "relu": torch.nn.ReLU(),
        "silu": torch.nn.SiLU(),
    }
    out = run(spec(folder, weights, layers=["linear", kind]), backend=backend)
    np.testing.assert_allclose(out, functions[kind](torch.tensor(X)).numpy(), atol=2e-6)


def test_gelu_is_not_its_approximation(folder):
    weights = {"0.weight": np.eye(24, dtype=np.float32)}
    exact = run(spec(folder, weights, layers=["linear", "gelu"]))
    near = run(spec(folder, weights, layers=["linear", "gelu_tanh"]))
    assert 1e-5 < np.abs(exact - near).max() < 1e-2


def test_facts_are_read_from_the_tensors(folder):
    facts = Stack.facts(spec(folder), Headers())
    assert {name: bound.value for name, bound in facts.dims.items()} == {"I": 24, "O": 16}
    assert facts.dims["I"].witness == "repo/projector: 1.weight [20, 24]"
    assert facts.dims["O"].witness == "repo/projector: 3.weight [16, 20]"
    assert facts.dtype == "f32"
    assert facts.nbytes == 4 * sum(value.size for value in tensors().values())


def test_without_files_it_knows_nothing(folder):
    assert Stack.facts(spec(folder), None).unknown


@pytest.mark.parametrize(
    ("stem", "prefix"),
    [("layers.", ""), ("projector.", "projector"), ("a.b.layers.", "a.b."), ("", "")],
)
def test_mlx_and_torch_names_are_understood(folder, stem, prefix):
    named = {stem + name: value for name, value in tensors().items()}
    out = run(spec(folder, named, prefix=prefix))
    np.testing.assert_allclose(out, in_numpy(X, tensors()), atol=1e-5)


def test_layers_may_have_names(folder):
    called = {"0": "norm", "1": "up", "3": "down", "4": "out"}
    named = {f"head.{called[name[0]]}{name[1:]}": value for name, value in tensors().items()}
    component_spec = spec(folder, named, prefix="head", names=list(called.values()))
    np.testing.assert_allclose(run(component_spec), in_numpy(X, tensors()), atol=1e-5)
    wrong = spec(folder, named, prefix="head", names=["norm", "up", "low", "out"])
    messages = error_text(wrong)
    assert "missing tensors: head.low.weight (linear)" in messages
    assert (
        "the layers are: norm layer_norm, up linear, 2 silu, low linear, out rms_norm" in messages
    )


def test_epsilons_are_settings(folder):
    small = X * 1e-3
    out = run(spec(folder, layer_norm_eps=1e-6, rms_norm_eps=0.5), small)
    np.testing.assert_allclose(out, in_numpy(small, tensors(), 1e-6, 0.5), atol=1e-5)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float32"])
def test_precision_is_what_it_runs_in(folder, precision):
    component_spec = spec(folder, precision=precision)
    facts = Stack.facts(component_spec, Headers())
    out = load(component_spec)(mx.array(X).astype(getattr(mx, precision)))
    assert str(out.dtype) == f"mlx.core.{precision}"
    assert facts.nbytes == (4 if precision == "float32" else 2) * 884
    error = np.abs(np.array(out.astype(mx.float32)) - in_numpy(X, tensors())).max()
    assert error < {"float32": 1e-5, "float16": 2e-2, "bfloat16": 1e-1}[precision]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w: {**w, "0.weight": w["0.weight"][::-1].copy()},
        lambda w: {**w, "3.weight": w["3.weight"][:, ::-1].copy()},
        lambda w: {name: value for name, value in w.items() if name != "1.bias"},
    ],
    ids=["norm reversed", "columns reversed", "bias gone"],
)
def test_other_weights_give_another_result(folder, spoil):
    out = run(spec(folder, spoil(tensors())))
    assert np.abs(out - in_numpy(X, tensors())).max() > 1e-2


def test_another_epsilon_gives_another_result(folder):
    small = X * 1e-3
    out = run(spec(folder, layer_norm_eps=1e-6), small)
    assert np.abs(out - in_numpy(small, tensors())).max() > 1e-2


def test_layers_in_another_order_are_refused(folder):
    component_spec = spec(folder, layers=["linear", "layer_norm", "silu", "linear", "rms_norm"])
    assert error_text(component_spec) == (
        "repo/projector: W247 layer 0 is a linear, whose weight has two axes\n"
        "    repo/projector: 0.weight [24]\n"
        "repo/projector: W247 layer 1 is a layer_norm, whose weight has one axis\n"
        "    repo/projector: 1.weight [20, 24]"
    )


def test_widths_that_do_not_chain_name_both_witnesses(folder):
    weights = tensors()
    weights["3.weight"] = weights["3.weight"].T.copy()
    assert error_text(spec(folder, weights)) == (
        "repo/projector: W247 layer 3 (linear) takes width 16, but 20 comes in\n"
        "    repo/projector: 3.weight [20, 16]\n"
        "    repo/projector: 1.weight [20, 24]\n"
        "repo/projector: W247 layer 4 (rms_norm) takes width 16, but 20 comes in\n"
        "    repo/projector: 4.weight [16]\n"
        "    repo/projector: 3.weight [20, 16]"
    )


def test_a_bias_fits_its_weight(folder):
    weights = {**tensors(), "1.bias": np.zeros(19, np.float32)}
    assert "W247 layer 1 has a bias that does not fit its weight" in error_text(
        spec(folder, weights)
    )


def test_missing_and_unexpected_tensors_are_named(folder):
    weights = tensors()
    weights["5.weight"] = weights.pop("4.weight")
    assert error_text(spec(folder, weights)) == (
        "repo/projector: W248 missing tensors: 4.weight (rms_norm)\n"
        "    hint: the tensors are: 0.bias, 0.weight, 1.bias, 1.weight, 3.weight, 5.weight\n"
        "repo/projector: W248 tensors that no layer has: 5.weight\n"
        "    hint: the layers are: 0 layer_norm, 1 linear, 2 silu, 3 linear, 4 rms_norm"
    )


def test_a_bias_on_an_rms_norm_is_unexpected(folder):
    weights = {**tensors(), "4.bias": np.zeros(16, np.float32)}
    assert "W248 tensors that no layer has: 4.bias" in error_text(spec(folder, weights))


def test_mixed_dtypes_need_a_precision(folder):
    weights = tensors()
    weights["1.weight"] = weights["1.weight"].astype(np.float16)
    text = error_text(spec(folder, weights))
    assert "W246 the tensors are stored in f16 and f32" in text
    assert run(spec(folder, weights, precision="float32")).shape == (7, 16)


def test_activations_alone_are_no_stack(folder):
    weights = {"0.weight": np.ones(4, np.float32)}
    assert "W248" in error_text(spec(folder, weights, layers=["silu"]))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"layers": []}, "at least 1 item"),
        ({"layers": ["conv"]}, "there is no layer 'conv'; layers: layer_norm, rms_norm, linear"),
        ({"layers": [3]}, "Input should be 'layer_norm'"),
        ({"layers": ["linear"], "rms_norm_eps": 1e-6}, "rms_norm_eps is set but no layer is"),
        ({"layers": ["rms_norm"], "rms_norm_eps": 0.0}, "greater than 0"),
        (
            {"layers": ["linear", "silu", "linear"], "names": ["up"]},
            "names has 1 names, but 2 layers have weights: linear, linear",
        ),
        ({"layers": ["linear"], "eps": 1e-6}, "Extra inputs are not permitted"),
    ],
)
def test_config_is_strict(config, message):
    with pytest.raises(ValidationError, match=message):
        Stack.Config(**config)


def test_a_placement_that_mlx_does_not_have_is_refused(folder):
    component_spec = spec(folder)
    facts = Stack.facts(component_spec, Headers())
    with pytest.raises(ComposerError, match="R518 MLX has no device 'npu'"):
        Stack.load(component_spec, facts, Placement(device="npu"))
    with pytest.raises(ComposerError, match="R518 MLX has no execution providers"):
        Stack.load(component_spec, facts, Placement(threads=2))
    if not mx.is_available(mx.gpu):
        with pytest.raises(ComposerError, match="R518 this MLX has no gpu"):
            Stack.load(component_spec, facts, Placement(device="gpu"))
    assert Stack.load(component_spec, facts, Placement(device="cpu"))(mx.array(X)).shape == (7, 16)

"""Adapters on models of mlx-lm, against mlx-lm's own loader and PEFT's formula in torch."""

import gc
import re
from collections import Counter

import mlx.core as mx
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten

from composer.components.checkpoints.lora.adapters import read_adapters
from composer.components.checkpoints.lora.pair import layer_projections
from composer.components.mlx.checkpoint import read_checkpoint
from composer.components.mlx.lm import MlxLanguageModel
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.adapter_files import (
    LAYERS,
    MODULES,
    as_peft,
    at,
    matrices,
    mlx_lm_config,
    peft_config,
    write_adapter,
    write_model,
)
from tests.components.mlx_adapters import (
    IDS,
    direct,
    far,
    fused,
    home,
    ids,
    load,
    logits,
    reference,
    spec,
    torch_folder,
)

__all__ = ["home", "torch_folder"]

BITS = pytest.mark.parametrize("bits", [None, 4])


# The same numbers as mlx-lm and PEFT


@BITS
@pytest.mark.parametrize("adapter", ["speech", "style"])
def test_it_computes_what_mlx_lm_computes(home, bits, adapter):
    model = "lm4" if bits else "lm"
    lm = load(home, model, **{adapter: None})
    expected = direct(reference(home, model, adapter))
    assert np.array_equal(logits(lm, adapter), expected)
    assert far(logits(lm), expected) > 0.1
    assert far(logits(load(home, model, **{adapter: 0.25}), adapter), expected) > 0.1


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_float32_adapters_on_a_narrower_base(home, precision):
    lm = load(home, precision=precision, speech=None)
    model = reference(home)
    base = [(n, v.astype(getattr(mx, precision)))
            for n, v in tree_flatten(model.parameters()) if "lora" not in n]  # fmt: skip
    model.load_weights(base, strict=False)
    lm.adapters.switch(["speech"])
    assert lm.model(mx.array(IDS)[None]).dtype == getattr(mx, precision)
    expected = np.array(model(mx.array(IDS)[None])[0].astype(mx.float32))
    assert np.array_equal(logits(lm, "speech"), expected)


@pytest.mark.parametrize(
    ("changes", "prefix", "scale"),
    [
        ({}, "base_model.model.", 2.0),
        ({"use_rslora": True}, "base_model.model.", 4.0),
        ({"target_modules": "all-linear"}, "", 2.0),
    ],
)
def test_it_computes_what_peft_computes(torch_folder, changes, prefix, scale):
    """PEFT: W x + B (A x) * alpha / r, with sqrt(r) in place of r where use_rslora says so."""
    model, home = torch_folder
    weights = as_peft(matrices(), prefix)
    write_adapter(home / "peft", weights, peft_config(**changes), "adapter_model")

    def update(name):
        a, b = (torch.tensor(weights[f"{prefix}{name}.lora_{side}.weight"]) for side in "AB")
        return lambda _, given, out: out + scale * (given[0] @ a.T @ b.T)

    lm = load(home, peft=None)
    with torch.no_grad():
        assert far(logits(lm), model(torch.tensor(IDS)[None]).logits[0].numpy()) < 2e-4
        hooks = [
            module.register_forward_hook(update(name))
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and name != "lm_head"
        ]
        assert len(hooks) == LAYERS * len(MODULES)
        expected = model(torch.tensor(IDS)[None]).logits[0].numpy()
        for hook in hooks:
            hook.remove()
    assert far(logits(lm, "peft"), expected) < 2e-4
    assert far(logits(lm), expected) > 0.1


def test_a_transposed_matrix_is_noticed(torch_folder):
    """No shape distinguishes a 64 by 64 projection of rank 64 from its transpose."""
    _, home = torch_folder
    square = {"self_attn.q_proj": (64, 64)}
    config = mlx_lm_config(rank=64, keys=square)
    weights = matrices(square, rank=64)
    torch_ordered = {
        name: value.T if "lora_a" in name else value for name, value in weights.items()
    }
    write_adapter(home / "right", weights, config)
    write_adapter(home / "torch_ordered", torch_ordered, config)
    lm = load(home, right=None, torch_ordered=None)
    expected = direct(reference(home, adapter="right"))
    assert np.array_equal(logits(lm, "right"), expected)
    assert far(logits(lm, "torch_ordered"), expected) > 0.1


def test_fused_and_switched_on_are_the_same(home, tmp_path):
    fused(home, tmp_path / "one", ("speech", 2.0))
    fused(home, tmp_path / "two", ("speech", 2.0), ("style", 5.0))
    lm = load(home, speech=None, style=None)
    one, two = logits(load(tmp_path, "one")), logits(load(tmp_path, "two"))
    size = np.abs(one).max()
    assert far(logits(lm, "speech"), one) < 1e-5 * size
    assert far(logits(lm, "speech", "style"), two) < 1e-5 * size
    assert far(one, two) > 1e-2 * size


# Switching


@BITS
def test_after_a_thousand_switches_the_base_is_the_same_to_the_bit(home, bits):
    model = "lm4" if bits else "lm"
    lm, alone = load(home, model, speech=20.0, style=None), load(home, model)
    modules = dict(lm.model.named_modules())
    base, on = logits(lm), logits(lm, "speech")
    assert np.array_equal(base, logits(alone))
    orders = [("speech",), (), ("style", "speech"), ("style",)]
    for number in range(1000):
        lm.adapters.switch(orders[number % 4])
        if number % 250 == 3:
            assert np.array_equal(logits(lm), base)
    assert np.array_equal(logits(lm), base)
    assert np.array_equal(logits(lm, "speech"), on)
    lm.adapters.switch(())
    after = dict(lm.model.named_modules())
    assert list(after) == list(modules)
    assert all(after[path] is module for path, module in modules.items())


def test_an_adapter_that_is_added_to_bfloat16_weights_and_taken_off_leaves_others():
    """What switching does not do: both sums are rounded, so that the base drifts."""
    rng = np.random.default_rng(0)
    base = mx.array(rng.normal(size=(64, 64)) * 0.05).astype(mx.bfloat16)
    update = mx.array(rng.normal(size=(64, 64)) * 0.01)
    weight, drifts = base, []
    for _ in range(8):
        weight = (weight.astype(mx.float32) + update).astype(mx.bfloat16)
        weight = (weight.astype(mx.float32) - update).astype(mx.bfloat16)
        drifts.append(int(mx.sum(weight != base)))
    assert drifts[0] > 100


def products(model, tmp_path):
    """Count the matrix products of one pass."""
    path = tmp_path / "graph.dot"
    mx.export_to_dot(str(path), model(mx.array(IDS)[None]))
    found = Counter(re.findall(r'label ="(\w+)"', path.read_text()))
    return sum(count for name, count in found.items() if "atmul" in name.lower())


@BITS
def test_off_costs_nothing(home, tmp_path, bits):
    model = "lm4" if bits else "lm"
    lm = load(home, model, speech=None)
    never = products(load(home, model).model, tmp_path)
    assert products(lm.model, tmp_path) == never
    lm.adapters.switch(("speech",))
    assert products(lm.model, tmp_path) == never + 2 * LAYERS * len(MODULES)
    lm.adapters.switch(())
    assert products(lm.model, tmp_path) == never


def test_no_second_copy_of_the_base(home):
    gc.collect()
    before = mx.get_active_memory()
    plain = load(home)
    base = mx.get_active_memory() - before
    lm = load(home, speech=None, style=None)
    both = mx.get_active_memory() - before
    lm.adapters.switch(("speech", "style"))
    assert mx.get_active_memory() - before == both
    own = sum(facts(home, name).nbytes for name in ("speech", "style"))
    assert both - 2 * base == pytest.approx(own, abs=0.02 * base)
    assert own > 0.1 * base
    del plain


def test_runs_that_interleave_have_their_own_adapters(home):
    lm = load(home, speech=None, style=None)
    choices = [("speech",), (), ("style",), ("speech", "style")]
    alone = [ids(lm, *on) for on in choices]
    assert len({tuple(each) for each in alone}) == len(choices)
    embeds = lm.embed(mx.array(IDS))
    runs = [lm.generate(embeds, adapters=on, max_tokens=12) for on in choices * 2]
    found = [[] for _ in runs]
    for _ in range(12):
        for each, run in zip(found, runs, strict=True):
            each.append(next(run).id)
    assert found == alone * 2  # two of each are continued together


class Broken:
    """A model that fails at its second step."""

    def __init__(self, model):
        self.model, self.layers, self.calls = model, model.layers, 0

    def __call__(self, *given, **more):
        self.calls += 1
        if self.calls == 3:
            raise MemoryError
        return self.model(*given, **more)


def test_a_run_that_fails_midway_leaves_nothing_on_for_the_next(home):
    lm = load(home, speech=None)
    base, on = ids(lm), ids(lm, "speech")
    given_up = lm.generate(lm.embed(mx.array(IDS)), adapters=("speech",), max_tokens=12)
    next(given_up)
    given_up.close()
    assert ids(lm) == base
    model = lm.decoder.model
    lm.decoder.model = Broken(model)
    with pytest.raises(MemoryError):
        ids(lm, "speech")
    lm.decoder.model = model
    assert ids(lm) == base
    assert ids(lm, "speech") == on
    assert np.array_equal(logits(lm), logits(load(home)))


def test_a_switch_that_fails_midway_is_made_good_by_the_next(home, monkeypatch):
    lm = load(home, speech=None)
    base = logits(lm)
    places = dict(lm.adapters.targets)
    broken = {path: None if number == 9 else place for number, (path, place) in
              enumerate(places.items())}  # fmt: skip
    monkeypatch.setattr(lm.adapters, "targets", broken)
    with pytest.raises(AttributeError):
        lm.adapters.switch(("speech",))
    monkeypatch.setattr(lm.adapters, "targets", places)
    assert far(np.array(lm.model(mx.array(IDS)[None])[0]), base) > 0.1
    assert np.array_equal(logits(lm), base)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (
            ("speach",),
            "R560 there is no adapter 'speach'; did you mean 'speech'?\n"
            "    hint: there are: speech",
        ),
        (
            ("speech", "speech"),
            "R561 an adapter is switched on twice: speech, speech\n"
            "    hint: its scale says how much it counts",
        ),
    ],
)
def test_names_that_cannot_be_switched_on(home, names, what):
    lm = load(home, speech=None)
    with pytest.raises(ComposerError) as caught:
        lm.generate(lm.embed(mx.array(IDS)), adapters=names)
    assert str(caught.value) == what
    with pytest.raises(ComposerError):
        lm.logits(lm.embed(mx.array(IDS)), adapters=names)


def test_numbers_that_are_not_finite_are_refused_at_load(home, tmp_path):
    write_model(tmp_path / "lm")
    weights = matrices()
    weights["model.layers.1.self_attn.q_proj.lora_b"][2, 3] = np.inf
    weights["model.layers.3.mlp.up_proj.lora_a"][2, 3] = np.nan
    write_adapter(tmp_path / "bad", weights, mlx_lm_config())
    with pytest.raises(ComposerError) as caught:
        load(tmp_path, bad=None)
    assert str(caught.value) == (
        "R562 the adapter 'bad' has numbers that are not finite, in layers.1.self_attn.q_proj, "
        "layers.3.mlp.up_proj\n    hint: its training diverged, or the file is damaged"
    )


@pytest.mark.parametrize("file", ["adapters.safetensors", "adapter_config.json"])
def test_an_adapter_that_changed_after_the_check_is_refused(tmp_path, file):
    write_model(tmp_path / "lm")
    write_adapter(tmp_path / "speech", matrices(), mlx_lm_config())
    component_spec = spec(tmp_path, speech=None)
    facts = MlxLanguageModel.facts(component_spec, Headers())
    weights, config = matrices(seed=7), mlx_lm_config(scale=-2.5)
    write_adapter(tmp_path / "other", weights, config)
    (tmp_path / "speech" / file).write_bytes((tmp_path / "other" / file).read_bytes())
    with pytest.raises(ComposerError, match=f"R530 repo/speech/{file}: changed after"):
        MlxLanguageModel.load(component_spec, facts, Placement())


# What its headers say


def facts(home, name, scale=None, dead=(), targets=None):
    checkpoint = read_checkpoint(at(home / "lm"), Headers())
    component_spec = spec(home, **{name: scale})
    return read_adapters(component_spec, Headers(), targets or layer_projections(checkpoint), dead)[
        name
    ]

"""Adapters that PEFT itself wrote, and what PEFT computes with them."""

import copy
import json
import warnings

import mlx.core as mx
import numpy as np
import peft
import pytest
import torch
from safetensors.numpy import load_file, save_file

from composer.components.mlx.lm import MlxLanguageModel
from composer.core.errors import ComposerError
from composer.formats import Headers
from tests.components.adapter_files import (
    LAYERS,
    MODULES,
    at,
    matrices,
    mlx_lm_config,
    write_adapter,
)
from tests.components.mlx_adapters import (
    IDS,
    direct,
    far,
    home,
    ids,
    load,
    logits,
    reference,
    spec,
    torch_folder,
)

__all__ = ["home", "torch_folder"]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONFIGS = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "ranks": {"rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 8}},
    "alphas": {"alpha_pattern": {"self_attn.v_proj": 32, "down_proj": 1}},
    "both, rslora": {
        "rank_pattern": {"layers.0.self_attn.k_proj": 2, "layers.2.self_attn.k_proj": 6},
        "alpha_pattern": {"k_proj": 3, "o_proj": 40},
        "use_rslora": True,
    },
    "dora with ranks": {"use_dora": True, "rank_pattern": {"gate_proj": 2}},
}


def write(model, folder, **changes):
    """Let PEFT write an adapter with random weights; return the logits that it then computes."""
    torch.manual_seed(1)
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=changes.pop("target_modules", ALL), **changes
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT asks transformers in an old way
        adapted = peft.get_peft_model(copy.deepcopy(model), config).eval()
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                value.normal_(0, 0.1)
            elif "magnitude" in name:
                value.mul_(torch.empty_like(value).uniform_(0.8, 1.3))
        expected = adapted(torch.tensor(IDS)[None]).logits[0].numpy()
    adapted.save_pretrained(folder)
    return expected


@pytest.mark.parametrize("name", CONFIGS)
def test_it_computes_what_peft_computes(torch_folder, name):
    model, home = torch_folder
    expected = write(model, home / "written", **CONFIGS[name])
    lm = load(home, written=None)
    assert far(logits(lm, "written"), expected) < 2e-4
    assert far(logits(lm), expected) > 0.1
    before = logits(lm)
    for _ in range(3):
        logits(lm, "written")
        assert np.array_equal(logits(lm), before)


@pytest.mark.parametrize("name", ["ranks", "alphas", "both, rslora"])
def test_a_pattern_that_is_not_read_would_be_seen(torch_folder, name):
    model, home = torch_folder
    expected = write(model, home / "written", **CONFIGS[name])
    config = home / "written" / "adapter_config.json"
    text = config.read_text()
    lm = load(home, written=None)
    facts = lm.adapters.updates["written"]
    assert len({update.scale for update in facts.values()}) > 1
    for path, update in facts.items():
        facts[path] = update._replace(scale=2.0)
    assert far(logits(lm, "written"), expected) > 1e-2
    assert config.read_text() == text


def test_the_manifest_s_scale_keeps_the_modules_own_ratios(torch_folder):
    model, home = torch_folder
    write(model, home / "written", **CONFIGS["alphas"])
    own = load(home, written=None).adapters.updates["written"]
    scaled = load(home, written=6.0).adapters.updates["written"]
    assert own["layers.0.self_attn.q_proj"].scale == 2.0
    for path, update in own.items():
        assert scaled[path].scale == pytest.approx(3 * update.scale)


def test_dora_of_mlx_lm(home, tmp_path):
    weights = matrices()
    base = mx.load(str(home / "lm" / "model.safetensors"))
    for layer in range(LAYERS):
        for module in MODULES:
            stem = f"model.layers.{layer}.{module}"
            length = np.linalg.norm(np.array(base[f"{stem}.weight"]), axis=1)
            weights[f"{stem}.m"] = (length * 1.1).astype(np.float32)
    write_adapter(home / "dora", weights, mlx_lm_config() | {"fine_tune_type": "dora"})
    for model in ("lm", "lm4"):
        lm = load(home, model, dora=None, style=None)
        expected = direct(reference(home, model, "dora"))
        assert far(logits(lm, "dora"), expected) < 2e-4
        assert far(logits(lm), expected) > 0.1
        assert ids(lm, "style") == ids(load(home, model, style=None), "style")
    with pytest.raises(ComposerError) as caught:
        logits(lm, "dora", "style")
    assert str(caught.value).startswith(
        "R564 dora, style adapt the same modules, and one of them is DoRA, which scales the "
        "whole output of a module: layers.2.mlp.down_proj"
    )


@pytest.mark.parametrize(
    ("spoil", "messages"),
    [
        ("missing", "says DoRA, but there is no magnitude"),
        ("short", "down_proj: DoRA's magnitude is one float for each output of B"),
        ("plain", "says plain LoRA, but there is a magnitude, which is DoRA's"),
    ],
)
def test_magnitudes_that_contradict_the_config_are_refused(torch_folder, spoil, messages):
    model, home = torch_folder
    write(model, home / "spoilt", use_dora=True)
    file = home / "spoilt" / "adapter_model.safetensors"
    state = load_file(file)
    name = next(name for name in state if "down_proj.lora_magnitude" in name)
    if spoil == "missing":
        del state[name]
    elif spoil == "short":
        state[name] = state[name][:-1]
    else:
        config = home / "spoilt" / "adapter_config.json"
        config.write_text(config.read_text().replace('"use_dora": true', '"use_dora": false'))
    save_file(state, file)
    with pytest.raises(ComposerError) as caught:
        load(home, spoilt=None)
    assert messages in str(caught.value)
    assert at(home / "spoilt").inside == "spoilt"


@pytest.mark.parametrize("key", ["rank_pattern", "alpha_pattern"])
def test_keys_that_contradict_each_other_are_refused(torch_folder, key):
    model, home = torch_folder
    write(model, home / "twice", **{key: {"layers.0.self_attn.k_proj": 2, "k_proj": 6}})
    with pytest.raises(ComposerError) as caught:
        load(home, twice=None)
    assert (
        "W287 k_proj, layers.0.self_attn.k_proj name one module with different numbers: "
        "layers.0.self_attn.k_proj" in str(caught.value)
    )


@pytest.mark.parametrize("key", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_of_modules_is_not_run(torch_folder, key):
    model, home = torch_folder
    write(model, home / "regex", **{key: {r".*layers\.[01]\..*q_proj": 4}})
    with pytest.raises(ComposerError) as caught:
        load(home, regex=None)
    assert f"W286 {key} names modules by the pattern" in str(caught.value)
    assert "name them by the end of their paths, such as self_attn.q_proj" in str(caught.value)


@pytest.mark.parametrize("key", ["use_rslora", "use_dora", "ensure_weight_tying"])
@pytest.mark.parametrize("value", ["true", 1, "false"])
def test_a_flag_is_true_or_false(torch_folder, key, value):
    """PEFT takes whatever is not empty for true."""
    model, home = torch_folder
    write(model, home / "flags")
    config = home / "flags" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {key: value}))
    with pytest.raises(ComposerError) as caught:
        load(home, flags=None)
    assert f"W287 {key} is '{value}'; expected true or false" in str(caught.value)


@pytest.mark.parametrize("before", ["base_model.model.model.", "foo."])
def test_a_name_that_peft_does_not_find_is_refused(torch_folder, before):
    model, home = torch_folder
    name = "layers.0.self_attn.q_proj"
    assert np.array_equal(
        write(model, home / "plain"),
        write(model, home / "prefixed", alpha_pattern={before + name: 32}),
    )
    with pytest.raises(ComposerError) as caught:
        load(home, prefixed=None)
    assert f"W286 alpha_pattern names '{before}{name}', which PEFT does not" in str(caught.value)
    expected = write(model, home / "own", alpha_pattern={f"model.{name}": 32})
    assert far(logits(load(home, own=None), "own"), expected) < 2e-4


@pytest.mark.parametrize("value", [None, []])
def test_targets_that_the_config_does_not_name_are_noted(torch_folder, value):
    model, home = torch_folder
    expected = write(model, home / "silent")
    config = home / "silent" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"target_modules": value}))
    notes = MlxLanguageModel.facts(spec(home, silent=None), Headers()).notes
    assert "it names no target_modules; its tensors say which they are" in str(notes[-1])
    assert far(logits(load(home, silent=None), "silent"), expected) < 2e-4

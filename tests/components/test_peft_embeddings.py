"""Adapters on embeddings and heads, and modules that PEFT saves whole, against PEFT itself."""

import copy
import json
import shutil
import warnings
from dataclasses import replace

import mlx.core as mx
import numpy as np
import peft
import pytest
import torch
import transformers
from mlx_lm.tuner.lora import LoRAEmbedding
from safetensors.numpy import load_file, save_file

import composer
from composer.components.mlx.checkpoint import read_checkpoint
from composer.components.mlx.lm import MlxLanguageModel
from composer.components.mlx.loader import load_model
from composer.components.onnx.lm import OnnxLanguageModel
from composer.core.errors import ComposerError
from composer.formats import Headers
from tests.components.adapter_files import (
    SIZES,
    at,
    matrices,
    mlx_lm_config,
    write_adapter,
    write_model,
)
from tests.components.mlx_adapters import IDS, direct, far, load, spec
from tests.streams import ids_of

CONFIGS = {
    "table": {"target_modules": ["q_proj", "embed_tokens"]},
    "table alone": {"target_modules": ["embed_tokens"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "both": {"target_modules": ["embed_tokens", "lm_head", "down_proj"]},
    "both, rslora, patterns": {
        "target_modules": ["embed_tokens", "lm_head"],
        "use_rslora": True,
        "rank_pattern": {"lm_head": 2},
        "alpha_pattern": {"embed_tokens": 3},
    },
    "dora": {"target_modules": ["embed_tokens", "lm_head", "v_proj"], "use_dora": True},
    "saved table": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "saved head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "saved both": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "saved norms": {"target_modules": ["q_proj"], "modules_to_save": ["norm", "embed_tokens"]},
    "saved mlp": {"target_modules": ["q_proj"], "modules_to_save": ["mlp"]},
}
CHANGES_TABLE = {name for name in CONFIGS if name not in ("head", "saved head", "saved mlp")}


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def base(request, tmp_path_factory):
    """Return a Qwen3 of transformers, and its folder."""
    torch.manual_seed(0)
    sizes = SIZES | {"initializer_range": 0.2, "tie_word_embeddings": request.param}
    model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**sizes)).eval()
    folder = write_model(tmp_path_factory.mktemp("base") / "lm")
    state = {name: mx.array(value.numpy()) for name, value in model.state_dict().items()}
    if request.param:
        del state["lm_head.weight"]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": request.param}))
    mx.save_safetensors(str(folder / "model.safetensors"), state)
    return model, folder.parent


def write(model, folder, **config):
    """Let PEFT train and write an adapter; return the logits of the model that PEFT loads again."""
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tied weights, and of old ways of asking transformers
        adapted = peft.get_peft_model(
            copy.deepcopy(model), peft.LoraConfig(r=4, lora_alpha=8, **config)
        )
        with torch.no_grad():
            for name, value in adapted.named_parameters():
                if "lora_" in name and "magnitude" not in name:
                    value.normal_(0, 0.1)
                elif "magnitude" in name:
                    value.mul_(torch.empty_like(value).uniform_(0.8, 1.3))
                elif "modules_to_save" in name:
                    value.add_(torch.empty_like(value).normal_(0, 0.1))
        adapted.save_pretrained(folder)
        again = peft.PeftModel.from_pretrained(copy.deepcopy(model), folder).eval()
    with torch.no_grad():
        return again(torch.tensor(IDS)[None]).logits[0].numpy()


def logits(lm, *on):
    return np.array(lm.logits(lm.embed(mx.array(IDS), adapters=on), adapters=on))


@pytest.mark.parametrize("name", CONFIGS)
def test_it_computes_what_peft_computes(base, name):
    model, home = base
    folder = f"written-{name}".replace(" ", "-").replace(",", "")
    expected = write(model, home / folder, **CONFIGS[name])
    lm = load(home, **{folder: None})
    facts = MlxLanguageModel.facts(spec(home, **{folder: None}), Headers())
    assert (facts.embedding_adapters == {folder}) == (name in CHANGES_TABLE)
    plain = logits(load(home))
    assert far(logits(lm, folder), expected) < 1e-4
    assert far(plain, expected) > 0.1
    assert np.array_equal(logits(lm), plain)
    logits(lm, folder)
    assert np.array_equal(logits(lm), plain)
    assert lm.adapters.table is None or lm.model.model.embed_tokens is lm.adapters.table.module


def test_generated_tokens_are_looked_up_with_the_adapter(base):
    model, home = base
    write(model, home / "long", **CONFIGS["both"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = peft.PeftModel.from_pretrained(copy.deepcopy(model), home / "long").eval()
    expected = again.generate(
        torch.tensor(IDS)[None], max_new_tokens=12, do_sample=False, eos_token_id=-1
    )[0, len(IDS) :].tolist()
    lm = load(home, long=None)
    asked = lm.embed(mx.array(IDS), adapters=("long",))
    written = ids_of(lm.generate(asked, adapters=("long",), max_tokens=12))
    assert written == expected[: len(written)]
    assert len(written) > 3
    plain = ids_of(lm.generate(lm.embed(mx.array(IDS)), max_tokens=12))
    assert plain == ids_of(load(home).generate(lm.embed(mx.array(IDS)), max_tokens=12))
    assert plain != written


def test_a_table_of_mlx_lm_and_the_head_that_is_tied_to_it(tmp_path):
    for bits, folder in ((None, "lm"), (4, "lm4")):
        write_model(tmp_path / folder, bits=bits)
        weights = {
            "model.embed_tokens.lora_a": matrices({"x": (96, 64)})["model.layers.0.x.lora_a"],
            "model.embed_tokens.lora_b": matrices({"x": (96, 64)})["model.layers.0.x.lora_b"],
        }
        write_adapter(tmp_path / "table", weights, mlx_lm_config(keys=("model.embed_tokens",)))
        lm = load(tmp_path, folder, table=None)
        model = load_model(read_checkpoint(at(tmp_path / folder), Headers()))
        table = LoRAEmbedding.from_base(model.model.embed_tokens, r=4, scale=2.0)
        table.lora_a = mx.array(weights["model.embed_tokens.lora_a"])
        table.lora_b = mx.array(weights["model.embed_tokens.lora_b"])
        before = direct(model)
        model.model.embed_tokens = table
        assert far(logits(lm, "table"), direct(model)) < 1e-4
        assert np.array_equal(logits(lm), before)
        assert far(before, direct(model)) > 0.1


@pytest.mark.parametrize("name", ["both", "dora", "saved both"])
def test_a_quantized_base_keeps_what_peft_adds(base, name):
    """PEFT adds to the dequantized output; what it saves whole is not quantized."""
    model, home = base
    import mlx.nn as nn
    from mlx.utils import tree_flatten

    if not (home / "lm8").exists():
        plain = load_model(read_checkpoint(at(home / "lm"), Headers()))
        nn.quantize(plain, group_size=32, bits=8)
        write_model(home / "lm8", bits=8)
        mx.save_safetensors(
            str(home / "lm8" / "model.safetensors"), dict(tree_flatten(plain.parameters()))
        )
        tied = json.loads((home / "lm" / "config.json").read_text())["tie_word_embeddings"]
        config = json.loads((home / "lm8" / "config.json").read_text())
        (home / "lm8" / "config.json").write_text(
            json.dumps(config | {"tie_word_embeddings": tied})
        )
    quantized = load_model(read_checkpoint(at(home / "lm8"), Headers()))
    state = {}
    for path, module in quantized.named_modules():
        if "scales" in module:
            rows = mx.dequantize(module.weight, module.scales, module.biases, group_size=32, bits=8)
            state[f"{path}.weight"] = torch.tensor(np.array(rows))
    unpacked = copy.deepcopy(model)
    unpacked.load_state_dict(state, strict=False)
    unpacked.tie_weights()
    folder = f"packed-{name.replace(' ', '-')}"
    expected = write(unpacked, home / folder, **CONFIGS[name])
    lm = load(home, "lm8", **{folder: None})
    assert far(logits(lm, folder), expected) < 5e-4
    assert np.array_equal(logits(lm), logits(load(home, "lm8")))


# What does not fit


def spoil(folder, change, config=None):
    file = folder / "adapter_model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file)
    if config:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))


def refused(home, folder):
    with pytest.raises(ComposerError) as caught:
        load(home, **{folder: None})
    return str(caught.value)


def named(state, end):
    return next(name for name in state if name.endswith(end))


def grow(state):
    name = named(state, "lm_head.weight")
    state[name] = np.concatenate([state[name], state[name][:1]])


def drop(state):
    del state[named(state, "lm_head.weight")]


def as_linear(state):
    for side in "AB":
        name = named(state, f"embed_tokens.lora_embedding_{side}")
        state[name.replace("_embedding", "") + ".weight"] = state.pop(name)


def other_base(state):
    name = named(state, "embed_tokens.base_layer.weight")
    state[name] = state[name] + 1


@pytest.mark.parametrize(
    ("name", "change", "messages"),
    [
        ("saved head", grow, "W290 lm_head.weight is [97, 64] but the decoder's is [96, 64]"),
        ("saved head", grow, "hint: tokens were added in training: merge it into a decoder"),
        ("saved head", drop, "says modules_to_save: lm_head, but the adapter has no lm_head"),
        ("table", as_linear, "W293 embed_tokens has the matrices of a linear layer, which it is"),
        ("table", other_base, "R566 the adapter's embed_tokens was trained on another table than"),
    ],
)
def test_what_does_not_fit_is_refused(base, name, change, messages):
    model, home = base
    folder = f"{change.__name__}-{len(messages)}"
    write(model, home / folder, **CONFIGS[name])
    spoil(home / folder, change)
    assert messages in refused(home, folder)


def test_settings_that_are_not_supported_are_named(base):
    model, home = base
    write(model, home / "tying", **CONFIGS["table"])
    spoil(home / "tying", lambda state: None, {"ensure_weight_tying": True})
    assert "W286 repo/tying/adapter_config.json says ensure_weight_tying" in refused(home, "tying")
    write(model, home / "nowhere", **CONFIGS["head"])
    spoil(home / "nowhere", lambda state: None, {"modules_to_save": ["score"]})
    assert "modules_to_save: score, but the decoder has no such module" in refused(home, "nowhere")


def test_two_that_hold_one_module_are_not_added(base):
    model, home = base
    write(model, home / "whole", **CONFIGS["saved table"])
    write(model, home / "update", **CONFIGS["table"])
    lm = load(home, whole=None, update=None)
    with pytest.raises(ComposerError) as caught:
        logits(lm, "whole", "update")
    assert str(caught.value).startswith(
        "R564 whole, update adapt the same modules, and one of them holds the whole module, which "
        "takes the place of the other's: embed_tokens"
    )


MANIFEST = """\
composer: 1
name: adapted
sources: {own: ./}
components:
  decoder: {use: mlx.lm, weights: own/lm, adapters: {written: {weights: own/written}}}
inputs: {ids: ids, marks: mask}
graph:
  rows: {run: decoder.embed, with: {ids: $ids, adapters: []}}
  same: {run: scatter, with: {base: $rows, at: $marks, values: $rows}}
  answer: {run: decoder.generate, with: {embeds: $same, adapters: [written], max_tokens: 4}}
outputs: {text: $answer.text}
"""
ON = MANIFEST.replace("adapters: []", "adapters: [written]")


@pytest.mark.parametrize("name", ["table", "saved table", "head"])
def test_embeddings_are_looked_up_with_the_adapters_that_continue_them(base, tmp_path, name):
    model, home = base
    write(model, tmp_path / "written", **CONFIGS[name])
    shutil.copytree(home / "lm", tmp_path / "lm")
    (tmp_path / "bundle.yaml").write_text(MANIFEST)
    source = {"own": tmp_path}
    problems = [str(each) for each in composer.check(tmp_path, sources=source).problems]
    if name == "head":
        assert not any("W295" in each for each in problems)
        return
    assert any(
        "bundle.yaml:8:3: W295 the adapters of these embeddings are none, and those of $answer, "
        "which continues them, written" in each
        for each in problems
    ), problems
    (tmp_path / "bundle.yaml").write_text(ON)
    assert composer.check(tmp_path, sources=source).ok
    with composer.load(tmp_path, sources=source, trust=True) as bundle:
        given = {"ids": [1, 2, 3], "marks": [True] * 3}
        assert bundle.run(**given).tokens
        with pytest.raises(composer.ComposerError, match="R542 'rows': the adapters of these"):
            bundle.run(**given, options={"answer": {"adapters": []}})


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("table alone", "W288 embed_tokens is outside the decoder's layers"),
        ("saved norms", "says modules_to_save: norm, embed_tokens; mlx.lm and mlx.gemma4 alone"),
    ],
)
def test_onnx_runtime_refuses_them_by_name(base, name, messages):
    model, home = base
    folder = f"onnx-{name.replace(' ', '-')}"
    write(model, home / folder, **CONFIGS[name])
    asked = replace(spec(home, **{folder: None}), config=OnnxLanguageModel.Config())
    with pytest.raises(ComposerError) as caught:
        OnnxLanguageModel.facts(asked, Headers())
    assert messages in str(caught.value)

"""Adapters on Gemma-4, whose last layers have no keys and values of their own to adapt."""

import json

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_unflatten
from mlx_lm.models import gemma4_text
from mlx_lm.tuner.lora import LoRALinear
from mlx_lm.tuner.utils import load_adapters

from composer.components.mlx.gemma4 import MlxGemma4
from composer.core.quantization_recipe import QuantizationRecipe
from composer.formats import Headers
from tests.components.adapter_files import write_adapter
from tests.components.gemma4_adapters import (
    BORROWING,
    IDS,
    LAYERS,
    RANK,
    SCALE,
    TARGETS,
    greedy,
    load,
    matrices,
    spec_with,
    torch_logits,
    write_pair,
)


def logits(lm, *on):
    ids = mx.array(IDS)
    return np.array(lm.logits(lm.embed(ids), lm.per_layer(ids), adapters=on))


def far(left, right):
    return np.abs(left - right).max()


@pytest.fixture(scope="module", params=["e2b", "e4b"])
def pair(request, tmp_path_factory):
    """Return a model of transformers, the folder of its checkpoint and adapter, and the two."""
    home = tmp_path_factory.mktemp(request.param)
    model = write_pair(home, request.param)
    return model, home, load(home, speech=SCALE)


def test_it_computes_what_the_formula_gives_in_transformers(pair):
    model, home, lm = pair
    off, on, adapted = torch_logits(model, home)
    assert adapted == LAYERS * len(TARGETS) - 2 * len(BORROWING)
    assert far(logits(lm), off) < 2e-4
    assert far(logits(lm, "speech"), on) < 2e-4
    assert far(on, off) > 0.5


def test_it_computes_what_mlx_lm_computes(pair, tmp_path):
    """Today's mlx-lm refuses an adapter with dead modules, so that it is given the live ones."""
    model, home, lm = pair
    config = json.loads((home / "lm" / "config.json").read_text())
    theirs = gemma4_text.Model(gemma4_text.ModelArgs.from_dict(config))
    theirs.load_weights(list(mx.load(str(home / "lm" / "model.safetensors")).items()))
    parameters = {"rank": RANK, "scale": SCALE, "dropout": 0.0}
    parameters["keys"] = [f"{'self_attn' if n[0] in 'qkvo' else 'mlp'}.{n}" for n in TARGETS]
    shown = {"fine_tune_type": "lora", "num_layers": LAYERS, "lora_parameters": parameters}
    whole = mx.load(str(home / "speech" / "adapters.safetensors"))
    live = {n: v for n, v in whole.items() if n in matrices(model, dead=False)}
    write_adapter(tmp_path / "live", live, shown)
    write_adapter(tmp_path / "dead", whole, shown)
    with pytest.raises(ValueError, match="not an adapter parameter"):
        load_adapters(gemma4_text.Model(theirs.args), str(tmp_path / "dead"))
    load_adapters(theirs, str(tmp_path / "live"))
    want = np.array(theirs(mx.array(IDS)[None])[0])
    assert far(logits(lm, "speech"), want) < 1e-5 * np.abs(want).max()


def test_dead_modules_are_counted(pair):
    model, home, _ = pair
    facts = MlxGemma4.facts(spec_with(home, speech=SCALE), Headers())
    notes = [str(note) for note in facts.notes]
    assert notes == [
        "repo/speech/adapters.safetensors: L327 warning: 6 of 42 modules are dropped: the layers "
        "3 to 5 take keys and values from earlier ones\n"
        "    adapter: model.layers.3.self_attn.k_proj.lora_a f32 [96, 4]\n"
        "    hint: they have no self_attn.k_proj, self_attn.v_proj to adapt"
    ]
    plain = MlxGemma4.facts(spec_with(home), Headers())
    live = sum(value.nbytes for value in matrices(model, dead=False).values())
    assert facts.nbytes - plain.nbytes == live


@pytest.mark.parametrize(
    "precision", ["bfloat16", QuantizationRecipe(4, 32), QuantizationRecipe(8, 32)], ids=str
)
def test_float32_updates_on_other_bases(pair, precision):
    """Against mlx-lm's own module around the same base, quantized or narrow."""
    _, home, lm = pair
    lm = load(home, precision, speech=SCALE)
    base = logits(lm)
    ours = logits(lm, "speech")
    lm.adapters.switch(())
    weights = mx.load(str(home / "speech" / "adapters.safetensors"))
    wrapped = []
    modules = dict(lm.model.named_modules())
    prefix = next(path for path in modules if path.endswith("layers.0")).removesuffix("layers.0")
    for path in lm.adapters.targets:
        module = LoRALinear.from_base(modules[f"{prefix}{path}"], RANK, 0.0, SCALE)
        module.lora_a = weights[f"model.{path}.lora_a"]
        module.lora_b = weights[f"model.{path}.lora_b"]
        wrapped.append((f"{prefix}{path}", module))
    lm.model.update_modules(tree_unflatten(wrapped))
    lm.model.eval()
    assert np.array_equal(ours, logits(lm))
    assert far(ours, base) > 0.5


def test_speech_and_chat_over_one_set_of_weights(pair):
    """After a thousand switches both give what each gave alone, to the bit."""
    _, home, lm = pair
    alone = load(home)
    lm.adapters.switch(())
    modules = dict(lm.model.named_modules())
    off, on, messages = logits(lm), logits(lm, "speech"), greedy(lm, "speech")
    assert np.array_equal(off, logits(alone))
    assert greedy(lm) == greedy(alone) != messages
    for number in range(1000):
        lm.adapters.switch(("speech",) if number % 2 == 0 else ())
    assert np.array_equal(logits(lm), off)
    assert all(module is modules[path] for path, module in lm.model.named_modules())
    assert np.array_equal(logits(lm, "speech"), on)
    assert greedy(lm, "speech") == messages
    assert greedy(lm) == greedy(alone)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_prefill_in_chunks_has_its_adapters(pair, chunk, monkeypatch):
    _, _, lm = pair
    whole = greedy(lm, "speech")
    monkeypatch.setattr(lm.decoder, "chunk", chunk)
    lm.adapters.switch(())
    assert greedy(lm, "speech") == whole


def test_turns_over_a_kept_cache_have_their_own_adapters(pair):
    """A cache that was read under other adapters answers otherwise."""
    _, _, lm = pair
    messages, answers = IDS.tolist(), []
    for on in ((), (), ("speech",), ("speech",), ()):
        answers.append(greedy(lm, *on, ids=messages, reuse_cache=True))
        assert answers[-1] == greedy(lm, *on, ids=messages)
        messages += [*answers[-1], 5]
    lm.writer.prefix_cache.stored.adapters = ("speech",)
    assert greedy(lm, "speech", ids=messages, reuse_cache=True) != greedy(
        lm, "speech", ids=messages
    )

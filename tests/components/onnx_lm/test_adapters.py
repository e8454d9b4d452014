"""Adapters on onnx.lm, against mlx.lm, PEFT and fused weights: on, off, together, quantized."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file as save_torch

from composer.components.onnx.lm import OnnxLanguageModel
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components import mlx_adapters as on_mlx
from tests.components.adapter_files import SIZES, matrices, mlx_lm_config, write_adapter
from tests.components.mlx_adapters import IDS, fused, home, torch_folder
from tests.components.onnx_lm.loading import separate_store as away
from tests.components.test_peft import CONFIGS, write
from tests.streams import ids_of

__all__ = ["home", "torch_folder"]
pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE = 1e-5
BITS = pytest.mark.parametrize("model", ["lm", "lm4"])


def spec(home, model="lm", activations="float32", **adapters):
    asked = on_mlx.spec(home, model, None, **adapters)
    return replace(asked, config=OnnxLanguageModel.Config(activations=activations))


def load(home, model="lm", activations="float32", **adapters):
    asked = spec(home, model, activations, **adapters)
    return OnnxLanguageModel.load(
        asked, OnnxLanguageModel.facts(asked, Headers()), Placement(threads=1)
    )


def logits(lm, *on):
    return lm.logits(lm.embed(IDS), adapters=on)


def ids(lm, *on, count=12, **options):
    stream = lm.generate(lm.embed(IDS), adapters=on, max_tokens=count, **options)
    return ids_of(stream)


# The same numbers


@BITS
@pytest.mark.parametrize("on", [("speech",), ("style",), ("speech", "style"), ()])
def test_it_computes_what_mlx_computes(home, model, on):
    ours = load(home, model, speech=None, style=None)
    mlx = on_mlx.load(home, model, speech=None, style=None)
    expected = on_mlx.logits(mlx, *on)
    assert away(logits(ours, *on), expected) < CLOSE
    assert ids(ours, *on) == on_mlx.ids(mlx, *on)
    other = ("style",) if on == ("speech",) else ("speech",)
    assert away(logits(ours, *other), expected) > 1e-2


@pytest.mark.parametrize("name", CONFIGS)
def test_it_computes_what_peft_computes(torch_folder, name):
    model, home = torch_folder
    expected = write(model, home / "written", **CONFIGS[name])
    lm = load(home, written=None)
    before = logits(lm)
    assert away(logits(lm, "written"), expected) < CLOSE
    assert away(before, expected) > 1e-2
    assert np.array_equal(logits(lm), before)


def test_dora_scales_what_comes_before_a_bias(tmp_path):
    """Qwen2 has biases, which DoRA leaves as they are."""
    torch.manual_seed(0)
    sizes = {k: v for k, v in SIZES.items() if k not in ("model_type", "head_dim")}
    config = transformers.Qwen2Config(**sizes | {"initializer_range": 0.2})
    model = transformers.Qwen2ForCausalLM(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.normal_(0, 1)
    folder = on_mlx.write_model(tmp_path / "lm")
    state = {n: v.contiguous() for n, v in model.state_dict().items() if n != "lm_head.weight"}
    save_torch(state, folder / "model.safetensors")
    text = (folder / "config.json").read_text().replace('"qwen3"', '"qwen2"')
    (folder / "config.json").write_text(text.replace('"head_dim": 16, ', ""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = write(model, tmp_path / "written", use_dora=True)
    lm = load(tmp_path, written=None)
    assert away(logits(lm, "written"), expected) < CLOSE
    shifts = [u.shift for u in lm.adapters.updates["written"].values() if u.shift is not None]
    assert max(np.abs(shift).max() for shift in shifts) > 0.1
    for shift in shifts:
        shift[:] = 0
    assert away(logits(lm, "written"), expected) > 1e-3


def test_fused_and_switched_on_are_the_same(home, tmp_path):
    fused(home, tmp_path / "one", ("speech", 2.0))
    fused(home, tmp_path / "two", ("speech", 2.0), ("style", 5.0))
    lm = load(home, speech=None, style=None)
    one, two = logits(load(tmp_path, "one")), logits(load(tmp_path, "two"))
    assert away(logits(lm, "speech"), one) < CLOSE
    assert away(logits(lm, "speech", "style"), two) < CLOSE
    assert away(one, two) > 1e-2


# What must not pass


@pytest.mark.parametrize("wrong", ["another scale", "A transposed", "only half of the modules"])
def test_what_is_nearly_right_does_not_pass(home, wrong):
    lm = load(home, speech=None)
    expected = logits(lm, "speech")
    updates = lm.adapters.updates["speech"]
    for number, (name, update) in enumerate(updates.items()):
        if wrong == "another scale":
            updates[name] = replace(update, b=update.b * np.float32(1.05))
        elif wrong == "A transposed":
            shape = update.a.shape
            turned = np.ascontiguousarray(update.a.T).reshape(shape)
            updates[name] = replace(update, a=turned)
        elif number % 2:
            updates[name] = replace(update, b=update.b * 0)
    lm.adapters.selected.clear()
    assert away(logits(lm, "speech"), expected) > 1e-3


# Switching


@BITS
def test_off_is_the_base_to_the_bit_however_often_it_is_switched(home, model):
    lm, alone = load(home, model, speech=20.0, style=None), load(home, model)
    base, on = logits(lm), logits(lm, "speech")
    assert np.array_equal(base, logits(alone))
    assert ids(lm) == ids(alone)
    for number in range(40):
        logits(lm, *[("speech",), (), ("style", "speech"), ("style",)][number % 4])
    assert np.array_equal(logits(lm), base)
    assert np.array_equal(logits(lm, "speech"), on)


def test_with_rounded_activations_adapters_stay_exact(home):
    lm = load(home, "lm4", "int8", speech=None)
    assert np.array_equal(logits(lm), logits(load(home, "lm4", "int8")))
    exact = logits(load(home, "lm4", speech=None), "speech")
    assert away(logits(lm, "speech"), exact) < 0.1 < away(logits(lm), exact)


def test_a_graph_without_adapters_has_no_inputs_for_them(home):
    def names(lm):
        return {each.name for each in lm.decoder.sessions[0]._session.get_inputs()}

    lm = load(home, speech=None, style=None)
    extra = names(lm) - names(load(home))
    assert extra == set(lm.adapters.inputs(()))
    assert len(extra) == 2 * len(lm.adapters.modules) == 2 * 28
    assert not any("factor" in name for name in extra)


def test_no_second_copy_of_the_base(home):
    plain, both = (
        OnnxLanguageModel.facts(spec(home, **more), Headers())
        for more in ({}, {"speech": None, "style": None})
    )
    lm = load(home, speech=None, style=None)
    own = sum(value.nbytes for name in ("speech", "style")
              for update in lm.adapters.updates[name].values()
              for value in (update.a, update.b))  # fmt: skip
    assert both.nbytes - plain.nbytes == own
    given = lm.adapters.inputs(("speech",))
    for name, update in lm.adapters.updates["speech"].items():
        assert given[f"lora_a {name}"] is update.a
        assert given[f"lora_b {name}"] is update.b


def test_runs_that_interleave_have_their_own_adapters(home):
    lm = load(home, speech=None, style=None)
    choices = [("speech",), (), ("style",), ("speech", "style")]
    alone = [ids(lm, *on) for on in choices]
    assert len({tuple(each) for each in alone}) == len(choices)
    runs = {on: lm.generate(lm.embed(IDS), adapters=on, max_tokens=12) for on in choices}
    found = {on: [] for on in choices}
    for _ in range(12):
        for on, run in runs.items():
            found[on].append(next(run).id)
    assert list(found.values()) == alone


def test_turns_over_a_kept_cache_have_their_own_adapters(home):
    lm = load(home, speech=None)
    expected = {on: ids(lm, *on) for on in ((), ("speech",))}
    for on in ((), (), ("speech",), ("speech",), ()):
        assert ids(lm, *on, reuse_cache=True) == expected[on]
    lm.writer.prefix_cache.stored.adapters = ("speech",)  # which were not on when it was read
    assert ids(lm, "speech", reuse_cache=True) != expected["speech",]


@pytest.mark.parametrize("chunk", [1, 4])
def test_chunks_have_their_adapters(home, chunk, monkeypatch):
    lm = load(home, speech=None)
    whole, base = ids(lm, "speech"), ids(lm)
    monkeypatch.setattr(lm.decoder, "chunk", chunk)
    assert ids(lm, "speech") == whole
    assert ids(lm) == base


# What is refused


def test_names_and_numbers_that_cannot_be(home):
    lm = load(home, speech=None)
    for call in (lm.logits, lm.generate):
        with pytest.raises(ComposerError, match="R560 there is no adapter 'speach'"):
            call(lm.embed(IDS), adapters=("speach",))
    with pytest.raises(ComposerError, match="R561 an adapter is switched on twice"):
        lm.replay(lm.embed(IDS), IDS[:2], adapters=("speech", "speech"))
    weights = matrices()
    name = next(name for name in weights if "down_proj.lora_b" in name)
    weights[name][0, 0] = np.inf
    write_adapter(home / "endless", weights, mlx_lm_config())
    with pytest.raises(ComposerError) as caught:
        load(home, endless=None)
    assert str(caught.value).startswith(
        "R562 the adapter 'endless' has numbers that are not finite, in layers.0.mlp.down_proj"
    )


def test_dora_and_another_on_the_same_modules_are_refused(torch_folder, home):
    model, folder = torch_folder
    write(model, folder / "dora", use_dora=True)
    write_adapter(folder / "plain", matrices(), mlx_lm_config())
    lm = load(folder, dora=None, plain=None)
    with pytest.raises(ComposerError, match="R564 dora, plain adapt the same modules, and one"):
        logits(lm, "dora", "plain")
    assert away(logits(lm, "plain"), logits(load(folder, plain=None), "plain")) < 1e-6

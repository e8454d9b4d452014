"""Gemma 3's text decoder, one file, on three backends against transformers, beyond its window."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from composer.components.models import gemma3
from tests.models.decoders import (
    BACKENDS,
    Model,
    assert_same_in_any_chunks,
    away,
    error_text,
    parsed,
    save,
    their_greedy,
    theirs,
)

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE = 1e-4
IDS = np.random.default_rng(5).integers(3, 160, 70)
FULL, SLIDING = "full_attention", "sliding_attention"
SIZES = {
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "query_pre_attn_scalar": 24,
    "sliding_window": 11,
    "layer_types": [SLIDING, FULL, SLIDING, FULL],
    "initializer_range": 0.15,
    "eos_token_id": 2,
}
LINEAR = {
    FULL: {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    SLIDING: {"rope_type": "default", "rope_theta": 1e4},
}
KINDS = {
    "as it is": {},
    "scaled, biased and capped": {"rope_parameters": LINEAR, "attention_bias": True,
                                  "final_logit_softcapping": 3.0},
    "a head of its own": {"tie_word_embeddings": False, "head_dim": 32},
}  # fmt: skip


def build(**more):
    torch.manual_seed(0)
    config = Gemma3TextConfig(**(SIZES | more))
    return Gemma3ForCausalLM._from_config(config, attn_implementation="eager").eval()


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    model = build(**KINDS[request.param])
    folder = save(model, tmp_path_factory.mktemp("gemma") / "lm")
    return folder, theirs(model, IDS), their_greedy(model, IDS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_what_transformers_computes_in_any_chunks(kind, backend):
    folder, logits, ids = kind
    assert_same_in_any_chunks(Model(folder, backend), IDS, logits, ids, CLOSE)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    model = build()
    return save(model, tmp_path_factory.mktemp("gemma") / "lm"), theirs(model, IDS)


def changed(**changes):
    """Change how layers with or without a window attend."""

    def change(settings):
        layers = tuple(
            replace(attn, **{k: v(attn) if callable(v) else v for k, v in changes.items()})
            for attn in settings.layers
        )
        return replace(settings, layers=layers)

    return change


WRONG = {
    "the window ignored": changed(window=None),
    "a window of one more": changed(window=lambda attn: attn.window and attn.window + 1),
    "a window in all layers": changed(window=11),
    "one base for all": changed(
        rotary=lambda attn: replace(attn.rotary, theta=1e6),
    ),
    "scaled by the width of a head": changed(scale=16**-0.5),
    "words that are not scaled": lambda settings: replace(settings, hidden_size=1),
    "logits that are capped": lambda settings: replace(settings, final_softcap=3.0),
    "layers in another order": lambda settings: replace(settings, layers=settings.layers[::-1]),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("why", WRONG)
def test_what_is_nearly_right_does_not_pass(plain, backend, why):
    folder, logits = plain

    def change(found):
        return replace(found, settings=WRONG[why](found.settings))

    assert away(Model(folder, backend, change).logits(IDS), logits) > 10 * CLOSE


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("why", ["norms by their weights alone", "gelu by its true formula"])
def test_formulas_that_are_nearly_right_do_not_pass(plain, backend, why, monkeypatch):
    folder, logits = plain
    if "norms" in why:
        monkeypatch.setattr(
            gemma3, "gemma_rms_norm", lambda v, s, x, name: v.rms_norm(x, name, s.rms_norm_eps)
        )
    else:
        genuine = gemma3.layer

        def layer(v, settings, number, x, ahead):
            v.gelu_tanh = v.gelu
            return genuine(v, settings, number, x, ahead)

        monkeypatch.setattr(gemma3, "layer", layer)
    assert away(Model(folder, backend).logits(IDS), logits) > CLOSE


def test_the_older_spelling_is_read(tmp_path, plain):
    """rope_theta, rope_local_base_freq and sliding_window_pattern, as the releases have them."""
    model = build(layer_types=None, num_hidden_layers=6)
    folder = save(model, tmp_path / "lm", rope_parameters=None, layer_types=None, rope_theta=1e6,
                  rope_local_base_freq=1e4, sliding_window_pattern=6)  # fmt: skip
    settings = parsed(folder).settings
    assert [attn.window for attn in settings.layers] == [11] * 5 + [None]
    assert [attn.rotary.theta for attn in settings.layers] == [1e4] * 5 + [1e6]
    assert away(Model(folder, "onnx").logits(IDS), theirs(model, IDS)) < CLOSE
    folder = save(model, tmp_path / "scaled", rope_parameters=None, rope_theta=1e6,
                  rope_scaling={"rope_type": "linear", "factor": 8.0})  # fmt: skip
    scales = [attn.rotary.scaling for attn in parsed(folder).settings.layers]
    assert scales == [1.0] * 5 + [8.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_activation": "gelu"}, "W257 composer's gemma3_text computes gelu_pytorch_tanh, "
         "and hidden_activation is gelu"),
        ({"attn_logit_softcapping": 50.0}, "W257 composer's gemma3_text does not read "
         "attn_logit_softcapping, which is 50.0"),
        ({"use_bidirectional_attention": True}, "does not read use_bidirectional_attention"),
        ({"layer_types": [FULL] * 3}, "W241 layer_types has to name sliding_attention or"),
        ({"rope_parameters": {"rope_theta": 1e5}}, "W257 composer's gemma3_text has "
         "rope_parameters for each type of layer"),
        ({"num_key_value_heads": 3}, "W241 4 heads cannot share 3 heads of keys"),
        ({"intermediate_size": None}, "W258 intermediate_size is missing, and composer's gemma3"),
        ({"sliding_window": 0}, "W241 sliding_window is 0; expected a whole number from 1"),
    ],
)  # fmt: skip
def test_what_it_would_not_compute_is_refused(tmp_path, changes, message):
    messages = error_text(save(build(), tmp_path / "lm", **changes))
    assert message in messages
    assert messages.startswith("repo/lm/config.json:")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_text_part_of_a_model_for_images_is_read(tmp_path, plain, backend):
    folder, logits = plain
    whole = tmp_path / "whole"
    whole.mkdir()
    config = json.loads((folder / "config.json").read_text())
    nested = {"model_type": "gemma3", "text_config": config, "vision_config": {}}
    (whole / "config.json").write_text(json.dumps(nested, indent=1))
    tensors = load_file(folder / "model.safetensors")
    tensors = {f"language_model.{name}": value for name, value in tensors.items()}
    tensors["vision_tower.weight"] = torch.zeros(3)
    save_file(tensors, whole / "model.safetensors", metadata={"format": "pt"})
    assert away(Model(whole, backend, prefix="language_model").logits(IDS), logits) < CLOSE

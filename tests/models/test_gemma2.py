"""Gemma 2's text decoder on three backends against transformers, beyond its window and bounds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

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
IDS = np.random.default_rng(5).integers(3, 160, 40)
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
    "attn_logit_softcapping": 0.7,
    "final_logit_softcapping": 3.0,
    "initializer_range": 0.25,
    "eos_token_id": 2,
}
KINDS = {
    "as it is": {},
    "biased, one window more": {"attention_bias": True, "layer_types": [SLIDING] * 3 + [FULL]},
    "unbounded": {"attn_logit_softcapping": None, "final_logit_softcapping": None},
    "heads that no kernel takes": {"head_dim": 24},
}


def build(**more):
    torch.manual_seed(0)
    config = Gemma2Config(**(SIZES | more))
    return Gemma2ForCausalLM._from_config(config, attn_implementation="eager").eval()


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    model = build(**KINDS[request.param])
    nulls = {key: None for key, value in KINDS[request.param].items() if value is None}
    folder = save(model, tmp_path_factory.mktemp("gemma") / "lm")
    stated(folder, **nulls)
    return folder, theirs(model, IDS), their_greedy(model, IDS)


def stated(folder, **values):
    """Write keys into a config, nulls too."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values, indent=1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_what_transformers_computes_in_any_chunks(kind, backend):
    folder, logits, ids = kind
    assert_same_in_any_chunks(Model(folder, backend), IDS, logits, ids, CLOSE)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    model = build()
    return save(model, tmp_path_factory.mktemp("gemma") / "lm"), theirs(model, IDS)


def changed(**changes):
    """Change how layers attend."""

    def change(settings):
        layers = []
        for attn in settings.layers:
            own = {key: value(attn) if callable(value) else value for key, value in changes.items()}
            layers.append(replace(attn, **own))
        return replace(settings, layers=tuple(layers))

    return change


WRONG = {
    "attention without its bound": changed(softcap=None),
    "the bound of the logits in attention": changed(softcap=3.0),
    "logits without their bound": lambda settings: replace(settings, final_softcap=None),
    "the window ignored": changed(window=None),
    "a window of one more": changed(window=lambda attn: attn.window and attn.window + 1),
    "windows in the other layers": lambda settings: replace(settings, layers=settings.layers[::-1]),
    "scaled by the width of a head": changed(scale=16**-0.5),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("why", WRONG)
def test_what_is_nearly_right_does_not_pass(plain, backend, why):
    folder, logits = plain

    def change(found):
        return replace(found, settings=WRONG[why](found.settings))

    assert away(Model(folder, backend).logits(IDS), logits) < CLOSE
    assert away(Model(folder, backend, change).logits(IDS), logits) > 10 * CLOSE


def test_an_absent_bound_is_that_of_transformers_and_null_is_none(tmp_path):
    folder = save(build(), tmp_path / "lm", attn_logit_softcapping=None, layer_types=None,
                  final_logit_softcapping=None)  # fmt: skip
    settings = parsed(folder).settings
    assert {attn.softcap for attn in settings.layers} == {50.0}
    assert settings.final_softcap == 30.0
    assert [attn.window for attn in settings.layers] == [11, None, 11, None]
    stated(folder, attn_logit_softcapping=None, final_logit_softcapping=None)
    settings = parsed(folder).settings
    assert {attn.softcap for attn in settings.layers} == {None}
    assert settings.final_softcap is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_activation": "gelu"}, "W257 composer's gemma2 computes gelu_pytorch_tanh, "
         "and hidden_activation is gelu"),
        ({"attn_logit_softcapping": -1}, "W241 attn_logit_softcapping is -1; expected a number "
         "above 0"),
        ({"use_bidirectional_attention": True}, "does not read use_bidirectional_attention"),
        ({"layer_types": [FULL] * 3}, "W241 layer_types has to name sliding_attention or"),
    ],
)  # fmt: skip
def test_what_it_would_not_compute_is_refused(tmp_path, changes, message):
    messages = error_text(save(build(), tmp_path / "lm", **changes))
    assert message in messages
    assert messages.startswith("repo/lm/config.json:")

"""Keys of a Gemma-4 decoder's config that nothing reads are refused where they stand."""

import json

import pytest
from transformers import Gemma4TextConfig

from tests.components.gemma4_models import edit, facts, save, torch_model
from tests.formats.making import refusal

CHANGED = {
    "query_pre_attn_scalar": 64,
    "attn_logit_softcapping": 50.0,
    "rope_scaling": {"rope_type": "yarn", "factor": 4.0},
    "partial_rotary_factor": 0.5,
    "embedding_multiplier": 2.0,
    "mlp_bias": True,
    "a_key_of_tomorrow": 1,
}
WITHOUT_EFFECT = {
    "attention_dropout": 0.1,
    "attn_logit_softcapping": None,
    "mlp_bias": False,
    "torch_dtype": "bfloat16",
    "_name_or_path": "google/gemma-4-E2B-it",
    "expert_intermediate_size": None,
}


@pytest.fixture(scope="module")
def model():
    return torch_model("e2b")


@pytest.fixture
def folder(model, tmp_path):
    return save(model, tmp_path / "lm")


@pytest.mark.parametrize("key", CHANGED)
def test_a_key_that_may_change_numbers_is_refused(key, folder):
    edit(folder, **{key: CHANGED[key]})
    text = (folder / "config.json").read_text()
    line = text[: text.index(f'"{key}"')].count("\n") + 1
    message = refusal(lambda: facts(folder))
    assert f"config.json:{line}:" in message
    assert f"W257 composer's gemma4 does not read {key}, which is" in message
    assert "take it out of the config" in message


def test_inside_a_whole_models_config_too(model, tmp_path):
    folder = save(model, tmp_path / "lm", prefix="model.language_model.")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["a_key_of_tomorrow"] = 1
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    found = refusal(lambda: facts(folder))
    place, _, _ = found.partition(": W257")
    line = int(place.split(":")[-2])
    text = (folder / "config.json").read_text().splitlines()[line - 1]
    assert text.strip().startswith('"a_key_of_tomorrow"')


@pytest.mark.parametrize("key", WITHOUT_EFFECT)
def test_a_key_without_effect_is_not(key, folder):
    edit(folder, **{key: WITHOUT_EFFECT[key]})
    assert not [note for note in facts(folder).notes if note.severity == "error"]


def test_every_key_that_transformers_writes_is_known(folder):
    config = json.loads((folder / "config.json").read_text())
    more = {}
    for key, value in Gemma4TextConfig().to_dict().items():
        if key not in config and key != "per_layer_config":
            more[key] = value
    assert more
    edit(folder, **more)
    facts(folder)

"""Settings of generation_config.json by which transformers writes another greedy text."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from composer.components.mlx.lm import MlxLanguageModel
from composer.components.onnx.lm import OnnxLanguageModel
from composer.core.component import Spec
from composer.core.location import Location
from composer.formats import Headers
from tests.config_sweep import IDS, Case, build, save

BASE = {"eos_token_id": 2, "do_sample": False}
OTHER = {
    "repetition_penalty": 1.5,
    "no_repeat_ngram_size": 1,
    "begin_suppress_tokens": None,
    "forced_eos_token_id": 7,
    "bad_words_ids": None,
    "suppress_tokens": None,
}
PLAIN = {
    "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "suppress_tokens": [], "min_length": 0,
    "num_beams": 1, "forced_eos_token_id": None, "max_new_tokens": 9, "use_cache": True,
}  # fmt: skip
SAMPLED = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "min_p": 0.1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generation") / "lm"
    save(Case("llama", "", {}), build(Case("llama", "", {})), folder)
    return folder


def notes(folder, component=MlxLanguageModel):
    weights = Location("repo", "", folder.parent) / folder.name
    found = component.facts(Spec("decoder", component.Config(), weights), Headers()).notes
    return [str(note) for note in found if note.code == "L341"]


def write(folder, **settings):
    (folder / "generation_config.json").write_text(json.dumps(BASE | settings))


def text_of_transformers(folder):
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor(IDS)[None]
    made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6)
    return made[0, len(IDS) :].tolist()


@pytest.mark.parametrize("key", OTHER)
def test_a_setting_that_changes_the_text_is_warned_of(folder, key):
    write(folder)
    plain = text_of_transformers(folder)
    assert notes(folder) == []
    value = OTHER[key]
    if key == "bad_words_ids":
        value = [[plain[1]]]
    elif value is None:
        value = [plain[0]]
    write(folder, **{key: value})
    assert text_of_transformers(folder) != plain
    for component in (MlxLanguageModel, OnnxLanguageModel):
        (found,) = notes(folder, component)
        assert "repo/lm/generation_config.json" in found
        assert f" {key} is " in found


@pytest.mark.parametrize("settings", [PLAIN, SAMPLED], ids=["plain", "sampled"])
def test_what_changes_nothing_here_is_not(folder, settings):
    write(folder, **settings)
    assert notes(folder) == []


def test_without_the_file_those_of_config_json_count(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "generation_config.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text()) | {"repetition_penalty": 1.3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (found,) = notes(tmp_path)
    assert "repetition_penalty is 1.3, which other runtimes apply" in found
    assert "generate has the option repetition_penalty" in found

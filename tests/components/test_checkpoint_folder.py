"""A decoder's weights are a folder, or one file of a folder that holds its config."""

import json
import shutil

import mlx.core as mx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from composer.components.mlx.lm import MlxLanguageModel as MlxLm
from composer.components.onnx.lm import OnnxLanguageModel as OnnxLm
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.mlx_lm.models import (
    IDS,
    dequantized,
    greedy,
    greedy_of_torch,
    mixed,
    quantized,
    save,
    torch_model,
)

BACKENDS = pytest.mark.parametrize("kind", [MlxLm, OnnxLm], ids=["mlx", "onnx"])


@pytest.fixture
def folder(tmp_path):
    """A folder with the weights of two models, neither named model.safetensors."""
    folder = save(torch_model(tied=False), tmp_path / "lm")
    other = save(torch_model(tied=False, initializer_range=0.3), tmp_path / "other")
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    shutil.copy(other / "model.safetensors", folder / "b.safetensors")
    return folder


def load(kind, folder, file="", **config):
    weights = Location("repo", f"lm/{file}".rstrip("/"), folder.parent)
    component_spec = Spec("decoder", kind.Config(**config), weights)
    headers = Headers()
    facts = kind.facts(component_spec, headers)
    return kind.load(component_spec, facts, Placement()), headers.warnings


def continued(lm):
    ids = mx.array(IDS) if isinstance(lm, MlxLm) else IDS
    return greedy(lm, lm.embed(ids))


@BACKENDS
def test_the_hint_of_an_ambiguous_folder_can_be_followed(kind, folder):
    with pytest.raises(ComposerError) as caught:
        load(kind, folder)
    assert str(caught.value) == (
        "repo/lm: S432 has 2 safetensors files and no index: a.safetensors, b.safetensors\n"
        "    hint: write the path of the file to use"
    )
    expected = greedy_of_torch(torch_model(tied=False))
    other = greedy_of_torch(torch_model(tied=False, initializer_range=0.3))
    assert expected != other
    assert continued(load(kind, folder, "a.safetensors")[0]) == expected
    assert continued(load(kind, folder, "b.safetensors")[0]) == other


@BACKENDS
def test_weights_beside_model_safetensors_are_not_read_and_named(kind, folder):
    (folder / "a.safetensors").rename(folder / "model.safetensors")
    (folder / "b.safetensors").rename(folder / "model.fp16.safetensors")
    lm, warnings = load(kind, folder)
    assert [str(each) for each in warnings] == [
        "repo/lm: L330 warning: takes model.safetensors, not model.fp16.safetensors\n"
        "    hint: write the path of the file that is meant, or move the others away"
    ]
    assert continued(lm) == greedy_of_torch(torch_model(tied=False))


@BACKENDS
def test_a_file_without_a_config_beside_it_is_refused(kind, folder):
    (folder / "config.json").unlink()
    with pytest.raises(ComposerError) as caught:
        load(kind, folder, "a.safetensors")
    assert str(caught.value) == (
        "W241 repo/lm has no config.json, so the sizes of the model are not known\n"
        "    hint: give the folder that holds config.json and the safetensors, or one safetensors "
        "file of such a folder"
    )


@BACKENDS
def test_a_head_is_the_head_where_the_config_does_not_say_whether_it_is_tied(kind, tmp_path):
    folder = save(torch_model(tied=False), tmp_path / "lm")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"tie_word_embeddings": false, ', ""))
    assert "tie_word" not in (folder / "config.json").read_text()
    assert continued(load(kind, folder)[0]) == greedy_of_torch(torch_model(tied=False))
    state = load_file(folder / "model.safetensors")
    del state["lm_head.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "mlx"})
    tied = torch_model(tied=True)
    tied.load_state_dict(state, strict=False)
    tied.tie_weights()
    assert continued(load(kind, folder)[0]) == greedy_of_torch(tied)


def test_both_backends_read_the_same_rows(folder):
    rows = [load(kind, folder, "a.safetensors")[0] for kind in (MlxLm, OnnxLm)]
    one, two = (np.array(lm.embed(mx.array(IDS) if lm is rows[0] else IDS)) for lm in rows)
    np.testing.assert_array_equal(one, two)


@pytest.fixture
def larger(tmp_path):
    """A speech model's folder: a nested config, an encoder's tensors and a decoder's."""
    folder = save(torch_model("qwen3", tied=False), tmp_path / "lm")
    state = load_file(folder / "model.safetensors")
    state = {f"thinker.{name}": value for name, value in state.items()}
    state |= {f"thinker.audio_tower.{name}": torch.ones(3) for name in ("conv.weight", "ln.bias")}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    eos = config.pop("eos_token_id")
    outer = {"model_type": "speech", "eos_token_id": eos, "audio_config": {"d_model": 3}}
    nested = {"thinker_config": {"text_config": config, "audio_config": {}}}
    (folder / "config.json").write_text(json.dumps(outer | nested, indent=1))
    return folder


@BACKENDS
def test_a_decoder_inside_a_larger_checkpoint_is_named_by_its_prefix(kind, larger):
    want = greedy_of_torch(torch_model("qwen3", tied=False))
    # The encoder's own config stands beside the decoder's: another component reads it.
    assert continued(load(kind, larger, prefix="thinker")[0]) == want
    path = larger / "config.json"
    with_encoder = path.read_text()
    config = json.loads(with_encoder)
    del config["thinker_config"]["audio_config"]
    path.write_text(json.dumps(config))
    with pytest.raises(ComposerError) as caught:
        load(kind, larger, prefix="thinker")
    assert "audio_tower" in str(caught.value)  # what no layer has is not left out silently
    path.write_text(with_encoder)
    state = load_file(larger / "model.safetensors")
    save_file(
        state | {"thinker.voice.weight": torch.ones(3)},
        larger / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ComposerError) as caught:
        load(kind, larger, prefix="thinker")
    assert "voice.weight" in str(caught.value)


@BACKENDS
def test_the_tensors_of_other_parts_are_counted(kind, larger):
    """They are another component's, if there is one; nobody is to think that these were read."""
    component_spec = Spec(
        "decoder", kind.Config(prefix="thinker"), Location("repo", "lm", larger.parent)
    )
    (note,) = kind.facts(component_spec, Headers()).notes
    assert str(note) == (
        "repo/lm: L325 warning: 2 tensors are not the text decoder's and not read by it, of "
        "thinker.audio_tower"
    )
    state = load_file(larger / "model.safetensors")
    state |= {"vision.layers.0.weight": torch.ones(3)}
    save_file(state, larger / "model.safetensors", metadata={"format": "pt"})
    (note,) = kind.facts(component_spec, Headers()).notes
    assert note.message == (
        "3 tensors are not the text decoder's and not read by it, of thinker.audio_tower, vision"
    )


@BACKENDS
def test_a_prefix_that_no_tensor_has_is_refused(kind, larger):
    with pytest.raises(ComposerError) as caught:
        load(kind, larger, prefix="language_model.")
    assert str(caught.value) == (
        "config.prefix: W259 no tensor of repo/lm begins with language_model.\n"
        "    its tensors begin with thinker."
    )


def test_a_key_of_the_nested_config_is_refused_at_its_line(larger):
    path = larger / "config.json"
    path.write_text(path.read_text().replace('"hidden_act": "silu"', '"hidden_act": "mish"'))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "mish" in text)
    with pytest.raises(ComposerError) as caught:
        load(MlxLm, larger, prefix="thinker")
    assert f"repo/lm/config.json:{line}:" in str(caught.value)
    assert "hidden_act" in str(caught.value)


@BACKENDS
def test_a_quantized_part_is_read_by_its_own_names(kind, larger, tmp_path):
    model = torch_model("qwen3", tied=False)
    plain = quantized(model, tmp_path / "plain", 64, 4, mixed)
    state = load_file(plain / "model.safetensors")
    save_file(
        {f"language_model.{name}": value for name, value in state.items()},
        larger / "model.safetensors",
        metadata={"format": "mlx"},
    )
    inner = json.loads((plain / "config.json").read_text())
    table = inner.pop("quantization")
    inner.pop("quantization_config")
    named = {f"language_model.{key}" if "." in key else key: table[key] for key in table}
    named["vision_tower.layers.0.fc1"] = {"bits": 8, "group_size": 64}
    outer = {"model_type": "pictures", "text_config": inner, "quantization": named}
    (larger / "config.json").write_text(json.dumps(outer))
    assert any(isinstance(each, dict) for each in table.values())
    part = load(kind, larger, prefix="language_model")[0]
    alone = Spec("decoder", kind.Config(), Location("repo", "plain", tmp_path))
    whole = kind.load(alone, kind.facts(alone, Headers()), Placement())
    assert continued(part) == continued(whole) == greedy_of_torch(dequantized(model, mlx(plain)))


def mlx(folder):
    component_spec = Spec("decoder", MlxLm.Config(), Location("repo", folder.name, folder.parent))
    return MlxLm.load(component_spec, MlxLm.facts(component_spec, Headers()), Placement())


@BACKENDS
@pytest.mark.parametrize("form", ["text", "object"])
def test_a_tokenizers_end_that_does_not_stop_generation_is_named(kind, tmp_path, form):
    folder = save(torch_model(), tmp_path / "lm")
    place = folder / "tokenizer_config.json"
    token = "w7" if form == "text" else {"content": "w7", "__type": "AddedToken"}
    place.write_text(json.dumps({"eos_token": token, "model_max_length": int(1e30)}))
    component_spec = Spec("decoder", kind.Config(), Location("repo", "lm", tmp_path))
    (note,) = kind.facts(component_spec, Headers()).notes
    assert str(note) == (
        "repo/lm/tokenizer_config.json: L331 warning: eos_token 'w7' is id 7, which does not stop "
        "generation\n    the config of the model has eos_token_id 2\n"
        "    hint: if the model ends texts with it, add it under stop"
    )
    for stopping in ({"eos_token": "w2"}, {"eos_token": None}, {"eos_token": "absent"}, {}):
        place.write_text(json.dumps(stopping))
        assert kind.facts(component_spec, Headers()).notes == ()

"""What `composer check` refuses before any weight is read."""

import json
import os

import pytest
import torch
from pydantic import ValidationError
from transformers import WhisperConfig

from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.formats import Headers
from tests.models.meralion.reference import (
    FFN,
    OUT,
    WIDTH,
    Meralion,
    close,
    config_of,
    load,
    ported,
    published,
    run,
    spec,
    tensors,
)


def error_text(folder, precision=None, **config):
    with pytest.raises(ComposerError) as caught:
        Meralion.facts(spec(folder, precision, **config), Headers())
    return str(caught.value)


def test_missing_and_unexpected_tensors_are_all_listed(tmp_path, reference):
    weights = tensors(reference)
    for name in ("ln_speech.bias", "speech_audio_adapter.gate_proj.weight"):
        del weights[name]
    weights["speech_encoder.layers.1.self_attn.k_proj.bias"] = torch.zeros(WIDTH)
    weights["proj_out.weight"] = torch.zeros(2, 2)
    assert error_text(published(tmp_path / "speech", reference, weights)) == (
        "repo/speech: W270 2 tensors missing\n"
        "    ln_speech.bias\n"
        "    speech_audio_adapter.gate_proj.weight\n"
        "repo/speech: W271 2 tensors that no part of a speech encoder has\n"
        "    proj_out.weight\n"
        "    speech_encoder.layers.1.self_attn.k_proj.bias"
    )


def test_a_missing_layer_is_listed(tmp_path, reference):
    weights = {name: v for name, v in tensors(reference).items() if "layers.1." not in name}
    text = error_text(published(tmp_path / "speech", reference, weights))
    assert text.startswith("repo/speech: W270 15 tensors missing\n    speech_encoder.layers.1.")
    assert text.count("\n") == 15


def test_a_layer_less_than_the_config_says(tmp_path, reference):
    weights = {name: v for name, v in tensors(reference).items() if "layers.2." not in name}
    assert error_text(published(tmp_path / "speech", reference, weights)) == (
        "repo/speech: W273 a config contradicts the number of layers\n"
        "    3 comes from repo/speech/config.json: speech_config.encoder_layers\n"
        "    2 comes from repo/speech: its layers"
    )


def test_a_list_of_many_names_ends(tmp_path, reference):
    weights = tensors(reference) | {f"x{n:03}": torch.zeros(1) for n in range(70)}
    text = error_text(published(tmp_path / "speech", reference, weights))
    assert text.startswith("repo/speech: W271 70 tensors that no part of a speech encoder has\n")
    assert text.endswith("    x049\n    and 20 more")


def test_the_adaptor_missing(tmp_path, reference):
    folder = ported(tmp_path / "speech", reference)
    (folder / "adaptor.safetensors").unlink()
    assert error_text(folder).startswith(
        "repo/speech: W270 10 tensors missing\n    ln_speech.weight\n    ln_speech.bias\n"
        "    mlp_adapter.layers.0.weight\n"
    )


def test_a_tensor_in_both_files(tmp_path, reference):
    twice = {"ln_speech.weight": torch.ones(WIDTH)}
    assert error_text(ported(tmp_path / "speech", reference, encoder=twice)) == (
        "repo/speech: W271 1 tensor in encoder.safetensors and in adaptor.safetensors too\n"
        "    ln_speech.weight"
    )


def test_names_of_the_other_layout_are_unexpected(tmp_path, reference):
    weights = tensors(reference)
    weights["conv1.weight"] = weights.pop("speech_encoder.conv1.weight")
    text = error_text(published(tmp_path / "speech", reference, weights))
    assert "W270 1 tensor missing\n    speech_encoder.conv1.weight" in text
    assert "W271 1 tensor that no part of a speech encoder has\n    conv1.weight" in text


def test_another_model_altogether(tmp_path, reference):
    folder = published(tmp_path / "speech", reference, {"model.norm.weight": torch.ones(4)})
    assert error_text(folder) == (
        "repo/speech: W222 repo/speech has neither speech_encoder.* nor conv1.weight\n"
        "    hint: mlx.meralion takes a Whisper-shaped encoder with its frame adaptor"
    )


def test_widths_that_differ_name_their_tensors(tmp_path, reference):
    weights = tensors(reference)
    weights["speech_encoder.layers.1.fc2.weight"] = torch.zeros(WIDTH, FFN - 1)
    weights["speech_audio_adapter.out_proj.weight"] = torch.zeros(OUT, 39)
    weights["speech_audio_adapter.pool_proj.weight"] = torch.zeros(40, 39)
    assert error_text(published(tmp_path / "speech", reference, weights)) == (
        "repo/speech: W272 the width of the feed-forward layers is not the same in 1 tensor\n"
        "    48 comes from repo/speech: speech_encoder.layers.0.fc1.weight [48, 32]\n"
        "    47 comes from repo/speech: speech_encoder.layers.1.fc2.weight [32, 47]\n"
        "repo/speech: W272 the adaptor's inner width is not the same in 2 tensors\n"
        "    40 comes from repo/speech: speech_audio_adapter.mlp_adapter.0.weight [40, 480]\n"
        "    39 comes from repo/speech: speech_audio_adapter.pool_proj.weight [40, 39]\n"
        "    39 comes from repo/speech: speech_audio_adapter.out_proj.weight [24, 39]"
    )


@pytest.mark.parametrize(
    ("name", "shape", "messages"),
    [
        ("speech_encoder.conv1.weight", (32, 80, 5), "expected [out, in, 3] or [out, 3, in]"),
        ("speech_encoder.conv1.weight", (32, 3, 3), "expected [out, in, 3] or [out, 3, in]"),
        ("speech_encoder.conv2.weight", (32, 96), "expected [out, in, 3] or [out, 3, in]"),
        ("ln_speech.weight", (1, 32), "expected one axis with sizes"),
        ("speech_encoder.embed_positions.weight", (0, 32), "expected two axes with sizes"),
    ],
)
def test_shapes_that_no_such_tensor_has(tmp_path, reference, name, shape, messages):
    weights = tensors(reference) | {name: torch.zeros(shape)}
    text = error_text(published(tmp_path / "speech", reference, weights))
    assert text == f"repo/speech: W272 {name} has the shape {list(shape)}; {messages}"


def test_an_adaptor_that_joins_no_whole_frames(tmp_path, reference):
    weights = tensors(reference)
    name = "speech_audio_adapter.mlp_adapter.0.weight"
    weights[name] = torch.zeros(40, 481)
    assert error_text(published(tmp_path / "speech", reference, weights)) == (
        "repo/speech: W272 the adaptor takes 481 numbers, no whole frames of 32\n"
        f"    481 comes from repo/speech: {name} [40, 481]\n"
        "    32 comes from repo/speech: speech_encoder.conv1.weight [32, 80, 3]"
    )
    weights[name] = torch.zeros(40, 32 * 7)
    assert (
        "W272 the adaptor joins 7 frames, which does not divide 150\n"
        f"    224 comes from repo/speech: {name} [40, 224]\n"
    ) in error_text(published(tmp_path / "speech", reference, weights, config={}), heads=4)


@pytest.mark.parametrize(
    ("key", "value", "label", "witness"),
    [
        ("num_mel_bins", 128, "the number of mels", "80 comes from repo/speech: {}conv1.weight"),
        ("d_model", 1280, "the encoder's width", "32 comes from repo/speech: {}conv1.weight"),
        ("encoder_ffn_dim", 49, "the width of the feed-forward layers", "48 comes from"),
        ("encoder_layers", "three", "the number of layers", "3 comes from repo/speech: its layers"),
        ("max_source_positions", 1500, "the number of positions", "150 comes from"),
        ("max_source_positions", True, "the number of positions", "150 comes from"),
    ],
)
def test_a_config_that_contradicts_the_tensors(tmp_path, reference, key, value, label, witness):
    config = {"speech_config": config_of(reference) | {key: value}}
    assert error_text(published(tmp_path / "speech", reference, config=config)).startswith(
        f"repo/speech: W273 a config contradicts {label}\n"
        f"    {value} comes from repo/speech/config.json: speech_config.{key}\n"
        f"    {witness.format('speech_encoder.')}"
    )


@pytest.mark.parametrize(
    ("file", "messages", "label"),
    [
        ("config.json", {"speech_mlp_scale_factor": 10}, "the number of frames"),
        ("config.json", {"speech_config": {}, "text_config": {"hidden_size": 9}}, "the width of"),
        ("adaptor_config.json", {"text_hidden_size": 3584}, "the width of the rows"),
        ("adaptor_config.json", {"scale_factor": 0}, "the number of frames that the adaptor"),
        ("adaptor_config.json", {"speech_hidden_size": 1280}, "the encoder's width"),
        ("preprocessor_config.json", {"feature_size": 128}, "the number of mels"),
    ],
)
def test_every_config_is_checked_against_the_tensors(tmp_path, reference, file, messages, label):
    folder = published(tmp_path / "speech", reference)
    (folder / "encoder_config.json").write_text(json.dumps(config_of(reference)))
    (folder / file).write_text(json.dumps(messages))
    assert f"W273 a config contradicts {label}" in error_text(folder)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [("activation_function", "relu", "gelu"), ("speech_mlp_use_projection", False, "True")],
)
def test_formulas_that_are_not_computed(tmp_path, reference, key, value, wanted):
    config = {"speech_config": config_of(reference), key: value}
    assert error_text(published(tmp_path / "speech", reference, config=config)) == (
        f"repo/speech: W273 {key} is not {wanted}, which is all that is computed\n"
        f"    {value} comes from repo/speech/config.json: {key}"
    )


def test_heads_are_stated_once_or_agree(tmp_path, reference, mels):
    bare = published(tmp_path / "speech", reference, config={})
    assert error_text(bare) == (
        "repo/speech: W274 nothing says how many attention heads there are\n"
        "    hint: say config: {heads: N}"
    )
    assert close(run(load(bare, heads=4), mels[0]), reference.rows(mels[0]), 1e-5)
    assert not close(run(load(bare, heads=8), mels[0]), reference.rows(mels[0]))
    assert error_text(bare, heads=5) == (
        "repo/speech: W274 5 attention heads do not divide a width of 32\n"
        "    5 comes from config.heads\n"
        "    32 comes from repo/speech: speech_encoder.conv1.weight [32, 80, 3]"
    )
    messages = published(tmp_path / "said", reference)
    assert not Meralion.facts(spec(messages, heads=4), Headers()).notes
    assert error_text(messages, heads=8) == (
        "repo/said: W273 a config contradicts the number of attention heads\n"
        "    4 comes from repo/said/config.json: speech_config.encoder_attention_heads\n"
        "    8 comes from config.heads"
    )
    with pytest.raises(ValidationError):
        Meralion.Config(heads=0)


def test_dtypes(tmp_path, reference):
    weights = tensors(reference)
    weights["ln_speech.bias"] = weights["ln_speech.bias"].half()
    mixed = published(tmp_path / "speech", reference, weights)
    assert error_text(mixed).startswith(
        "repo/speech: W246 the tensors are stored in f16 and f32\n"
        "    speech_encoder.conv1.weight f32"
    )
    assert Meralion.facts(spec(mixed, "float16"), Headers()).dtype == "f16"
    weights["ln_speech.bias"] = torch.zeros(WIDTH, dtype=torch.int8)
    assert error_text(published(tmp_path / "speech", reference, weights), "float16") == (
        "repo/speech: W246 tensors are stored in i8; expected floats\n    ln_speech.bias i8 [32]"
    )


def test_weights_or_a_config_that_changed_since_the_check_are_refused(tmp_path, reference):
    for written, file in (
        (published, "model.safetensors"),
        (published, "config.json"),
        (ported, "adaptor.safetensors"),
        (ported, "encoder_config.json"),
    ):
        component_spec = spec(written(tmp_path / written.__name__, reference))
        facts = Meralion.facts(component_spec, Headers())
        os.utime(tmp_path / written.__name__ / file, (1, 1))
        with pytest.raises(ComposerError, match=f"R530 .*{file}: changed after it was checked"):
            Meralion.load(component_spec, facts, Placement())


def test_a_key_of_the_speech_config_that_nothing_reads_is_refused(tmp_path, reference):
    config = {"speech_config": config_of(reference) | {"pos_gain": 2.0}}
    assert error_text(published(tmp_path / "speech", reference, config=config)) == (
        "repo/speech: W273 speech_config.pos_gain is no setting of this encoder\n"
        "    2.0 comes from repo/speech/config.json: speech_config.pos_gain"
    )


def test_every_key_that_transformers_writes_is_known(tmp_path, reference):
    config = {"speech_config": WhisperConfig().to_dict() | config_of(reference)}
    Meralion.facts(spec(published(tmp_path / "speech", reference, config=config)), Headers())

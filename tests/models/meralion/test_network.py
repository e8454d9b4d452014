"""MERaLiON's speech encoder against transformers' Whisper encoder and a restated adaptor."""

import json

import mlx.core as mx
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from composer.components.models import meralion
from composer.core.component import Bound
from composer.core.errors import ComposerError
from composer.formats import Headers
from tests.models.backends import apply
from tests.models.meralion.reference import (
    HEADS,
    JOINED,
    LAYERS,
    MELS,
    OUT,
    WIDTH,
    WINDOW,
    Meralion,
    Reference,
    close,
    layer,
    load,
    ported,
    published,
    run,
    spec,
    tensors,
)


def test_every_stage_and_layer_is_that_of_transformers(component, reference, mels):
    want = reference.stages(mels[0])
    x = apply(component, meralion.stem, mels[0])
    found = {"stem": x}
    for number in range(LAYERS):
        x = found[f"layer {number}"] = layer(component, number, HEADS, x)
    for name in ("layer_norm", "ln_speech"):
        x = found[name] = apply(component, lambda v, x, n=name: v.layer_norm(x, n, meralion.EPS), x)
    settings = meralion.MeralionSettings(LAYERS, HEADS, JOINED * WIDTH)
    found["rows"] = apply(component, lambda v, x: meralion.adapt(v, settings, x), x)
    assert found.keys() == want.keys()
    for stage, value in found.items():
        assert close(value, want[stage], 1e-5), stage
        assert np.abs(want[stage]).max() > 0.3, stage


def test_each_layer_alone_is_that_of_transformers(component, reference, mels):
    want = reference.stages(mels[0])
    for number, before in enumerate(["stem", "layer 0", "layer 1"]):
        out = layer(component, number, HEADS, want[before])
        assert close(out, want[f"layer {number}"], 1e-5)
        other = layer(component, number, HEADS // 2, want[before])
        assert not close(other, want[f"layer {number}"])


def test_one_window_and_two(component, reference, mels):
    assert close(run(component, mels[0]), reference.rows(mels[0]), 1e-5)
    assert close(run(component, *mels), reference.rows(*mels), 1e-5)
    assert run(component, *mels).shape == (20, OUT)


def test_windows_do_not_attend_to_each_other(component, mels):
    whole = run(component, *mels)
    assert np.array_equal(whole[:10], run(component, mels[0]))
    assert np.array_equal(whole[10:], run(component, mels[1]))


@pytest.mark.parametrize("small", [False, True], ids=["large", "small"])
def test_both_layouts_give_the_same_bits(tmp_path, mels, small):
    reference = Reference(small)
    one = load(published(tmp_path / "hf", reference))
    other = load(ported(tmp_path / "mlx", reference))
    assert {name: value.shape for name, value in one.run.weights.items()} == {
        name: value.shape for name, value in other.run.weights.items()
    }
    assert np.array_equal(run(one, *mels), run(other, *mels))
    assert close(run(one, *mels), reference.rows(*mels), 1e-5)


def test_one_file_of_the_ports_names(tmp_path, reference, mels):
    parts = ported(tmp_path / "mlx", reference)
    whole = tmp_path / "one"
    whole.mkdir()
    merged = {}
    for part in ("encoder", "adaptor"):
        merged |= mx.load(str(parts / f"{part}.safetensors"))
    mx.save_safetensors(str(whole / "model.safetensors"), merged)
    assert close(run(load(whole, heads=HEADS), *mels), reference.rows(*mels), 1e-5)


def test_shards_and_the_decoder_of_a_whole_model(tmp_path, reference, mels, folder):
    whole = tmp_path / "whole"
    weights = tensors(reference)
    decoder = {f"text_decoder.model.layers.{n}.w": torch.zeros(5, 100) for n in range(3)}
    names = sorted(weights)
    shards = [
        {name: weights[name] for name in names[:20]},
        {name: weights[name] for name in names[20:]} | decoder,
        {"text_decoder.lm_head.weight": torch.zeros(50, 100)},
    ]
    published(whole, reference)
    (whole / "model.safetensors").unlink()
    places = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-0000{number}-of-00003.safetensors"
        save_file(shard, whole / name)
        places |= dict.fromkeys(shard, name)
    index = json.dumps({"weight_map": places})
    (whole / "model.safetensors.index.json").write_text(index)
    facts = Meralion.facts(spec(whole), Headers())
    assert [str(note) for note in facts.notes] == [
        "repo/whole: L311 warning: mlx.meralion reads the speech encoder alone; "
        "not read: 4 tensors of text_decoder.*, 2.6e-05 GB"
    ]
    assert len(facts.stamps) == 3  # two shards and the config, not the shard of the decoder alone
    assert facts.nbytes == Meralion.facts(spec(folder), Headers()).nbytes
    assert close(run(load(whole), *mels), reference.rows(*mels), 1e-5)


def test_another_file_beside_the_ports_two_is_reported(tmp_path, reference):
    folder = ported(tmp_path / "mlx", reference)
    save_file({"a": torch.zeros(1)}, folder / "decoder.safetensors")
    facts = Meralion.facts(spec(folder), Headers())
    assert [str(note) for note in facts.notes] == [
        "repo/mlx: L311 warning: mlx.meralion reads the speech encoder alone; "
        "not read: decoder.safetensors"
    ]


def test_facts_are_read_from_the_tensors(folder, reference):
    facts = Meralion.facts(spec(folder), Headers())
    assert facts.dims == {
        "M": Bound(MELS, "repo/speech: speech_encoder.conv1.weight [32, 80, 3]"),
        "D": Bound(OUT, "repo/speech: speech_audio_adapter.out_proj.weight [24, 40]"),
    }
    assert facts.dtype == "f32"
    assert not facts.notes
    numbers = sum(value.numel() for value in tensors(reference).values())
    assert facts.nbytes == 4 * numbers
    assert Meralion.facts(spec(folder, "float16"), Headers()).nbytes == 2 * numbers
    assert Meralion.facts(spec(folder), None).unknown


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_precision_is_what_it_runs_in(folder, reference, mels, precision):
    component = load(folder, precision)
    out = component(mx.array(mels[0]).astype(getattr(mx, precision)))
    assert str(out.dtype) == f"mlx.core.{precision}"
    assert {str(value.dtype) for value in component.run.weights.values()} == {
        f"mlx.core.{precision}"
    }
    error = np.abs(np.array(out.astype(mx.float32)) - reference.rows(mels[0])).max()
    low, high = {"float32": (0, 1e-5), "float16": (1e-5, 4e-3), "bfloat16": (1e-3, 8e-2)}[precision]
    assert low <= error < high


def test_stored_float16_stays_and_widens_exactly(tmp_path, reference, mels):
    half = {name: value.half() for name, value in tensors(reference).items()}
    folder = published(tmp_path / "half", reference, half)
    assert Meralion.facts(spec(folder), Headers()).dtype == "f16"
    wide = Reference()
    wide.load_state_dict({name: value.float() for name, value in half.items()})
    assert close(run(load(folder, "float32"), mels[0]), wide.rows(mels[0]), 1e-5)


@torch.no_grad()
def test_float16_is_clamped_after_each_layer_as_in_transformers(tmp_path, reference):
    weights = tensors(reference)
    weights["speech_encoder.layers.0.fc2.bias"][:4] = torch.tensor([9e4, -9e4, 65e3, 6e4])
    folder = published(tmp_path / "loud", reference, weights)
    x = np.random.default_rng(2).normal(0, 1, (WINDOW, WIDTH)).astype(np.float16)
    x[:, 2:4] += 500
    half = Reference().speech_encoder.half()
    half.load_state_dict(
        {
            name.removeprefix("speech_encoder."): value.half()
            for name, value in weights.items()
            if name.startswith("speech_encoder.")
        }
    )
    want = half.layers[0](torch.tensor(x)[None], None)[0].float().numpy()
    component = load(folder, "float16")
    out = layer(component, 0, HEADS, x)
    assert np.array_equal(np.unique(out[:, 0]), [64512])
    assert np.array_equal(np.unique(out[:, 1]), [-64512])
    assert np.array_equal(out[:, :3], want[:, :3])
    assert np.abs(out[:, 3] / want[:, 3] - 1).max() < 1e-3
    assert np.abs(out[:, 4:] - want[:, 4:]).max() < 2e-2
    wide = load(folder)
    loud = layer(wide, 0, HEADS, x.astype(np.float32))
    assert np.abs(loud).max() > 8e4


def test_numbers_that_are_not_finite_are_refused(tmp_path, reference, mels):
    weights = tensors(reference)
    weights["speech_audio_adapter.out_proj.bias"][3] = 1e6
    folder = published(tmp_path / "loud", reference, weights)
    assert np.isfinite(run(load(folder), mels[0])).all()
    with pytest.raises(ComposerError) as caught:
        run(load(folder, "float16"), mels[0])
    assert str(caught.value) == (
        "R551 the speech encoder gave numbers that are not finite\n"
        "    hint: its weights overflow here: run it with precision float32"
    )


@pytest.mark.parametrize("frames", [0, 1, 299, 301, 450])
def test_frames_that_are_no_whole_windows_are_refused(component, frames):
    with pytest.raises(ComposerError) as caught:
        component(mx.zeros((MELS, frames)))
    assert str(caught.value) == (
        f"R550 the log-mel has {frames} frames; the encoder takes whole windows of 300\n"
        "    hint: give audio.log_mel a pad of the window's length: at 100 frames a second that "
        "is pad: {seconds: 3}"
    )

"""MERaLiON's speech encoder against transformers' Whisper encoder and a restated adaptor."""

import json
import os

import mlx.core as mx
import numpy as np
import pytest
import torch
import transformers
from pydantic import ValidationError
from safetensors.torch import save_file

from composer.components.audio.log_mel import LogMel
from composer.components.models import meralion
from composer.core.component import Bound, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from composer.formats.audio.waveform import Audio
from composer.manifest.entries import Quantization
from tests.models.backends import BACKENDS, apply, arrays, family, plain

Meralion = family("meralion", "mlx")

CLOSE = 1e-4
MELS, WIDTH, HEADS, FFN, LAYERS, OUT, JOINED = 80, 32, 4, 48, 3, 24, 15
WINDOW = 150  # positions, of 20 ms: 3 s


class Adaptor(torch.nn.Module):
    """The large adaptor, or the small one of v1, by their formulas."""

    def __init__(self, small):
        super().__init__()
        nn = torch.nn
        inner = 20 if small else 40
        self.mlp_adapter = nn.Sequential(nn.Linear(JOINED * WIDTH, inner), nn.SiLU())
        if small:
            self.speech_llm_proj = nn.Sequential(
                nn.Linear(inner, 36), nn.SiLU(), nn.Linear(36, OUT)
            )
        else:
            self.gate_proj, self.pool_proj = nn.Linear(inner, inner), nn.Linear(inner, inner)
            self.out_proj = nn.Linear(inner, OUT)
        self.small = small

    def forward(self, x):
        joined = [
            torch.cat([*frames]) for frames in x.split(JOINED)
        ]  # fifteen frames, the first one first
        h = self.mlp_adapter(torch.stack(joined))
        if self.small:
            return self.speech_llm_proj(h)
        return self.out_proj(torch.nn.functional.silu(self.gate_proj(h)) * self.pool_proj(h))


class Reference(torch.nn.Module):
    """The speech part of MERaLiON under its published names, every number random."""

    def __init__(self, small=False, window=WINDOW):
        super().__init__()
        torch.manual_seed(3)
        config = transformers.WhisperConfig(
            num_mel_bins=MELS, d_model=WIDTH, encoder_layers=LAYERS, encoder_attention_heads=HEADS,
            encoder_ffn_dim=FFN, max_source_positions=window, decoder_layers=1,
        )  # fmt: skip
        self.speech_encoder = transformers.models.whisper.modeling_whisper.WhisperEncoder(config)
        self.ln_speech = torch.nn.LayerNorm(WIDTH)
        self.speech_audio_adapter = Adaptor(small)
        for name, value in self.named_parameters():
            spread = 0.1 if value.ndim == 1 else 1.2 / value[0].numel() ** 0.5
            shift = 1.0 if "norm.weight" in name or name == "ln_speech.weight" else 0.0
            value.data = torch.randn(value.shape) * spread + shift
        self.speech_encoder.embed_positions.weight.data = sinusoids(window)
        self.eval()

    @torch.no_grad()
    def stages(self, mel):
        """Return what every stage gives for one window."""
        found, encoder = {}, self.speech_encoder
        hooks = [
            layer.register_forward_hook(lambda _, __, x, n=n: found.update({f"layer {n}": x[0]}))
            for n, layer in enumerate(encoder.layers)
        ]
        hooks.append(
            encoder.layers[0].register_forward_pre_hook(lambda _, x: found.update(stem=x[0][0]))
        )
        found["layer_norm"] = encoder(torch.tensor(mel)[None]).last_hidden_state[0]
        found["ln_speech"] = self.ln_speech(found["layer_norm"])
        found["rows"] = self.speech_audio_adapter(found["ln_speech"])
        for hook in hooks:
            hook.remove()
        return {name: value.numpy() for name, value in found.items()}

    def rows(self, *mels):
        return np.concatenate([self.stages(mel)["rows"] for mel in mels])


def sinusoids(window, interleaved=False):
    rates = torch.exp(-torch.arange(WIDTH // 2) * (np.log(10_000) / (WIDTH // 2 - 1)))
    angles = torch.arange(window)[:, None] * rates
    if interleaved:
        return torch.stack([angles.sin(), angles.cos()], 2).reshape(window, WIDTH)
    return torch.cat([angles.sin(), angles.cos()], 1)


def config_of(reference):
    window = reference.speech_encoder.max_source_positions
    return {
        "d_model": WIDTH, "encoder_layers": LAYERS, "encoder_attention_heads": HEADS,
        "encoder_ffn_dim": FFN, "num_mel_bins": MELS, "max_source_positions": window,
        "activation_function": "gelu",
    }  # fmt: skip


def tensors(reference):
    return {name: value.clone().contiguous() for name, value in reference.state_dict().items()}


def published(folder, reference, weights=None, config=None):
    """Write Hugging Face's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors(reference) if weights is None else weights, folder / "model.safetensors")
    if config is None:
        config = {
            "speech_config": config_of(reference),
            "speech_mlp_scale_factor": JOINED,
            "text_config": {"hidden_size": OUT},
        }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def ported(folder, reference, encoder=None, adaptor=None):
    """Write the layout of the MLX port."""
    parts = {"speech_encoder": {}, "adaptor": {}}
    for name, value in tensors(reference).items():
        if name.startswith("speech_encoder."):
            bare = name.removeprefix("speech_encoder.").replace("positions.weight", "positions")
            flip = value.ndim == 3
            value = value.transpose(1, 2).contiguous() if flip else value
            parts["speech_encoder"][bare] = value
        else:
            bare = name.removeprefix("speech_audio_adapter.")
            for sequence in ("mlp_adapter", "speech_llm_proj"):
                bare = bare.replace(f"{sequence}.", f"{sequence}.layers.")
            parts["adaptor"][bare] = value
    folder.mkdir(parents=True, exist_ok=True)
    save_file(parts["speech_encoder"] | (encoder or {}), folder / "encoder.safetensors")
    save_file(parts["adaptor"] | (adaptor or {}), folder / "adaptor.safetensors")
    (folder / "encoder_config.json").write_text(json.dumps(config_of(reference)))
    messages = {"speech_hidden_size": WIDTH, "text_hidden_size": OUT, "scale_factor": JOINED}
    (folder / "adaptor_config.json").write_text(json.dumps(messages))
    return folder


def spec(folder, precision=None, **config):
    location = Location("repo", folder.name, folder.parent)
    return Spec("speech", Meralion.Config(**config), weights=location, precision=precision)


def load(folder, precision=None, backend="mlx", **config):
    kind, asked = family("meralion", backend), spec(folder, precision, **config)
    return kind.load(asked, kind.facts(asked, Headers()), Placement())


def run(component, *mels):
    mel = arrays(component, np.concatenate(mels, axis=1))
    if component.backend == "mlx":
        mel = mel.astype(component.run.weights["ln_speech.weight"].dtype)
    return plain(component(mel))


def close(found, want, tolerance=CLOSE):
    return found.shape == want.shape and bool(np.abs(found - want).max() <= tolerance)


def error_text(folder, precision=None, **config):
    with pytest.raises(ComposerError) as caught:
        Meralion.facts(spec(folder, precision, **config), Headers())
    return str(caught.value)


@pytest.fixture(scope="module")
def reference():
    return Reference()


@pytest.fixture(scope="module")
def mels():
    draw = np.random.default_rng(5)
    return [draw.normal(0, 0.7, (MELS, 2 * WINDOW)).astype(np.float32) for _ in range(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reference):
    return published(tmp_path_factory.mktemp("hf") / "speech", reference)


@pytest.fixture(scope="module", params=BACKENDS)
def component(folder, request):
    return load(folder, backend=request.param)


def layer(component, number, heads, x):
    at = f"layers.{number}."
    return apply(component, lambda v, x: meralion.layer(v, at, heads, x), x)


def test_every_stage_and_layer_is_that_of_transformers(component, reference, mels):
    want = reference.stages(mels[0])
    x = apply(component, meralion.stem, mels[0])
    found = {"stem": x}
    for number in range(LAYERS):
        x = found[f"layer {number}"] = layer(component, number, HEADS, x)
    for name in ("layer_norm", "ln_speech"):
        x = found[name] = apply(component, lambda v, x, n=name: v.layer_norm(x, n, meralion.EPS), x)
    settings = meralion.Settings(LAYERS, HEADS, JOINED * WIDTH)
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


def test_windows_do_not_hear_each_other(component, mels):
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


def test_another_file_beside_the_ports_two_is_told(tmp_path, reference):
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


# From a waveform to rows, against the feature extractor that MERaLiON's processor calls.


def voice(samples, seed=0):
    draw, time = np.random.default_rng(seed), np.arange(samples) / 16_000
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * time)) / 16_000
    tones = sum(np.sin(k * phase) / k for k in range(1, 20))
    loud = 0.05 + 0.1 * time / time[-1]
    return (loud * tones + draw.normal(0, 0.002, samples)).astype(np.float32)


def heard(component, samples, seconds=3, slices=4, normalize=True):
    config = LogMel.Config.model_validate(
        {"mels": MELS, "pad": {"seconds": seconds, "slices": slices}, "frames": "ceil",
         "normalize": normalize}
    )  # fmt: skip
    asked = Spec("features", config)
    features = LogMel.load(asked, LogMel.facts(asked, None), Placement())
    return run(component, features(audio=Audio(samples, 16_000, "clip"))["out"])


def expected(reference, samples, seconds=3):
    extractor = transformers.WhisperFeatureExtractor(feature_size=MELS, chunk_length=seconds)
    size = 16_000 * seconds
    mels = [
        extractor(
            samples[at : at + size],
            sampling_rate=16_000,
            padding="max_length",
            do_normalize=True,
            return_tensors="np",
        )["input_features"][0]
        for at in range(0, len(samples), size)
    ]
    return reference.rows(*mels)


@pytest.mark.parametrize("samples", [20_000, 48_000, 48_001, 67_200, 144_000])
def test_from_the_waveform(component, reference, samples):
    want = expected(reference, voice(samples))
    assert want.shape == (10 * -(-samples // 48_000), OUT)
    assert close(heard(component, voice(samples)), want)


def test_windows_of_thirty_seconds(tmp_path):
    reference = Reference(window=1500)
    component = load(published(tmp_path / "long", reference))
    samples = voice(16_000 * 32)
    rows = heard(component, samples, seconds=30)
    assert rows.shape == (200, OUT)
    assert close(rows, expected(reference, samples, seconds=30))


def test_silence_gives_numbers(component, reference):
    silent = np.zeros(50_000, np.float32)
    assert close(heard(component, silent), expected(reference, silent))
    half = np.concatenate([voice(48_000), silent])
    assert close(heard(component, half), expected(reference, half))


def test_what_is_nearly_right_does_not_pass(tmp_path, component, reference, monkeypatch):
    samples = voice(67_200)
    want = expected(reference, samples)
    rows = heard(component, samples)
    assert close(rows, want)
    assert not close(rows[:10], want), "the second slice missing"
    assert not close(np.concatenate([rows[10:], rows[:10]]), want), "slices swapped"
    assert not close(heard(component, samples, normalize=False), want), "not normalized"
    whole = (samples - samples.mean()) / samples.std()
    once = heard(component, whole, normalize=False)
    assert not close(once, want), "normalized as a whole"

    weights = tensors(reference)
    place = "speech_encoder.embed_positions.weight"
    weights[place] = sinusoids(WINDOW, interleaved=True)
    other = load(published(tmp_path / "interleaved", reference, weights))
    assert not close(heard(other, samples), want), "sines and cosines interleaved"

    if component.backend == "numpy":
        return  # a graph of ONNX is written already, and the formulas are the same
    adapt, own = meralion.adapt, meralion.layer

    def shuffled(v, settings, x):
        frames = x.reshape(JOINED, -1, WIDTH).transpose(1, 0, 2)
        return adapt(v, settings, frames.reshape(x.shape))

    def numbers_first(v, settings, x):
        frames = x.reshape(-1, JOINED, WIDTH).transpose(0, 2, 1)
        return adapt(v, settings, frames.reshape(x.shape))

    for way in (shuffled, numbers_first):
        monkeypatch.setattr(meralion, "adapt", way)
        assert not close(heard(component, samples), want), way.__name__
    monkeypatch.undo()

    def swapped(v, at, num_heads, x):
        number = int(at.split(".")[1])
        return own(v, f"layers.{(1, 0, 2)[number]}.", num_heads, x)

    monkeypatch.setattr(meralion, "layer", swapped)
    assert not close(heard(component, samples), want), "layers swapped"
    monkeypatch.undo()
    monkeypatch.setattr(meralion, "EPS", 1e-2)
    assert not close(heard(component, samples), want), "another epsilon"


# What `composer check` refuses before any weight is read.


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
def test_every_config_is_held_to_the_tensors(tmp_path, reference, file, messages, label):
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


def test_heads_are_said_once_or_agree(tmp_path, reference, mels):
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


def test_dtypes_and_recipes(tmp_path, reference, folder):
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
    assert "W246 mlx.meralion does not quantize" in error_text(folder, Quantization(4, 64))


def test_weights_or_a_config_that_changed_since_the_check_are_refused(tmp_path, reference):
    for written, file in (
        (published, "model.safetensors"),
        (published, "config.json"),
        (ported, "adaptor.safetensors"),
        (ported, "encoder_config.json"),
    ):
        asked = spec(written(tmp_path / written.__name__, reference))
        facts = Meralion.facts(asked, Headers())
        os.utime(tmp_path / written.__name__ / file, (1, 1))
        with pytest.raises(ComposerError, match=f"R530 .*{file}: changed after it was checked"):
            Meralion.load(asked, facts, Placement())

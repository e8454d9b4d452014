"""MERaLiON's encoder of transformers and its adaptor restated, saved in both layouts."""

import json

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from composer.components.models import meralion
from composer.core.component import Spec
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.models.backends import apply, arrays, family, plain

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
    kind, component_spec = family("meralion", backend), spec(folder, precision, **config)
    return kind.load(component_spec, kind.facts(component_spec, Headers()), Placement())


def run(component, *mels):
    mel = arrays(component, np.concatenate(mels, axis=1))
    if component.backend == "mlx":
        mel = mel.astype(component.run.weights["ln_speech.weight"].dtype)
    return plain(component(mel))


def close(found, want, tolerance=CLOSE):
    return found.shape == want.shape and bool(np.abs(found - want).max() <= tolerance)


def layer(component, number, heads, x):
    at = f"layers.{number}."
    return apply(component, lambda v, x: meralion.layer(v, at, heads, x), x)

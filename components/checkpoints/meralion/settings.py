"""What the configs beside a MERaLiON speech encoder say of its sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from composer.core.location import Location

from ..layout import ExpectedSetting

if TYPE_CHECKING:
    from composer.formats import Headers

FILES = ("config.json", "encoder_config.json", "adaptor_config.json", "preprocessor_config.json")
SIZES = {
    "num_mel_bins": "mels",
    "feature_size": "mels",
    "d_model": "width",
    "speech_hidden_size": "width",
    "encoder_layers": "layers",
    "encoder_ffn_dim": "ffn",
    "encoder_attention_heads": "heads",
    "max_source_positions": "window",
    "speech_mlp_scale_factor": "factor",
    "scale_factor": "factor",
    "text_hidden_size": "out",
}
FIXED = {"activation_function": "gelu", "speech_mlp_use_projection": True}


def config_files(folder: Location, headers: Headers) -> tuple[Location, ...]:
    """Return the configs that are in a folder."""
    return tuple(folder / name for name in FILES if headers.exists(folder / name))


def expected_settings(file: Location, config: Mapping[str, Any]) -> Iterator[ExpectedSetting]:
    """Return the settings that bear on the encoder, of Hugging Face's config or of MLX's port."""
    speech, text = config.get("speech_config"), config.get("text_config")
    levels = {"": config}
    if isinstance(speech, dict):
        levels["speech_config."] = speech
    for prefix, level in levels.items():
        for key, value in level.items():
            if key in SIZES or key in FIXED:
                yield ExpectedSetting(file, f"{prefix}{key}", value, SIZES.get(key), FIXED.get(key))
    if isinstance(speech, dict) and isinstance(text, dict) and "hidden_size" in text:
        yield ExpectedSetting(file, "text_config.hidden_size", text["hidden_size"], "out")

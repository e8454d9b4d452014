"""What a config says of Gemma-4's audio tower beside its sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from composer.core.component import Bound
from composer.core.location import Location
from composer.formats.file_problems import show_bare

from ..encoder_config import refuse_unread
from ..layout import ExpectedSetting, LayoutChecker

SIZES = {
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "conv_kernel_size": "kernel",
    "output_proj_dims": "rows",
}
FIXED = {"model_type": "gemma4_audio", "hidden_act": "silu", "attention_context_right": 0}
READ = (
    "attention_chunk_size", "attention_context_left", "attention_logit_cap", "gradient_clipping",
    "residual_weight", "rms_norm_eps", "subsampling_conv_channels", "use_clipped_linears",
    "attention_invalid_logits_value",  # of frames that are not attended to: they are left out here
)  # fmt: skip


@dataclass(frozen=True)
class AudioSettings:
    """The numbers that no tensor shows.

    A frame attends to itself and to `past` frames before it. `attention_softcap` bounds attention
    logits, `residual_weight` scales the feed-forward layers, `clipping` bounds hidden states,
    `rms_norm_eps` is that of the norms around the convolutions; the others have 1e-6.
    """

    past: int
    attention_softcap: float
    residual_weight: float
    clipping: float
    rms_norm_eps: float


def read_settings(
    checker: LayoutChecker, file: Location, audio: Mapping[str, Any]
) -> AudioSettings:
    """Read an `audio_config`; what it leaves out is transformers' default, and the release's."""
    refuse_unread(checker, file, "audio_config", audio, (*SIZES, *FIXED, *READ))

    def number(key: str, default: float) -> float:
        value = audio.get(key, default)
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            stated = f"{show_bare(value)} comes from {file}: audio_config.{key}"
            checker.report("W273", f"audio_config.{key} is no number above 0", stated)
            return default
        return float(value)

    left = audio.get("attention_context_left", 13)
    chunk = audio.get("attention_chunk_size", 12)
    if type(left) is not int or left < 2 or chunk != left - 1:
        checker.report(
            "W273",
            "attention_chunk_size is not attention_context_left - 1, which is all that is computed",
            f"{show_bare(chunk)} and {show_bare(left)} come from {file}: audio_config",
        )
        left = 13
    return AudioSettings(
        past=left - 2,
        attention_softcap=number("attention_logit_cap", 50.0),
        residual_weight=number("residual_weight", 0.5),
        clipping=number("gradient_clipping", 1e10),
        rms_norm_eps=number("rms_norm_eps", 1e-6),
    )


def expected_settings(file: Location, audio: Mapping[str, Any]) -> Iterator[ExpectedSetting]:
    """Return the settings of an `audio_config` that the tensors are checked against."""
    for key, value in audio.items():
        if key in SIZES or key in FIXED:
            path = f"audio_config.{key}"
            yield ExpectedSetting(file, path, value, SIZES.get(key), FIXED.get(key))
    channels = audio.get("subsampling_conv_channels")
    if isinstance(channels, list) and len(channels) == 2:
        for at, size in enumerate(("first", "second")):
            path = f"audio_config.subsampling_conv_channels[{at}]"
            yield ExpectedSetting(file, path, channels[at], size)


def check_clipped_linears(
    checker: LayoutChecker, file: Location, audio: Mapping[str, Any], clipped: bool
) -> None:
    """Check use_clipped_linears against the bounds that are stored or not."""
    stated = audio.get("use_clipped_linears", True)
    has = "has" if clipped else "has no"
    if stated is not clipped:
        checker.report(
            "W273",
            "use_clipped_linears contradicts the tensors",
            f"{show_bare(stated)} comes from {file}: audio_config.use_clipped_linears",
            f"{checker.location} {has} input_min of a layer",
        )


def sizes_from_tensors(checker: LayoutChecker, layers: int) -> dict[str, Bound]:
    """Return the sizes that the tensors show, those that follow from several among them."""
    known = {**checker.dims, "layers": Bound(layers, f"{checker.location}: its layers")}
    width, head = checker.dims.get("width"), checker.dims.get("head")
    if width and head:
        known["heads"] = Bound(width.value // head.value, head.witness)
    return known

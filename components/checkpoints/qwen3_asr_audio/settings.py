"""What a config says of Qwen3-ASR's audio encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats.file_problems import show, show_bare

from ..encoder_config import refuse_unread
from ..layout import ExpectedSetting, LayoutChecker

SIZES = {
    "num_mel_bins": "mels",
    "d_model": "width",
    "encoder_layers": "layers",
    "num_hidden_layers": "layers",
    "encoder_ffn_dim": "ffn",
    "encoder_attention_heads": "heads",
    "downsample_hidden_size": "channels",
    "output_dim": "out",
}
FIXED = {"activation_function": "gelu", "scale_embedding": False}
WINDOWS = ("n_window", "n_window_infer")
KINDS = ("qwen3_asr_audio_encoder", "qwen3_asr_encoder")


@dataclass(frozen=True)
class AttentionWindows:
    """How a clip is divided: frames of log-mel in a chunk, and chunks that attend to each other."""

    chunk: int
    chunks: int


def audio_config(
    checker: LayoutChecker, file: Location, config: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any]]:
    """Return the keys that lead to `audio_config` in a config's file, and what it says."""
    for keys in (("thinker_config", "audio_config"), ("audio_config",)):
        found: Any = config
        for key in keys:
            if isinstance(found, dict):
                found = found.get(key)
        if isinstance(found, dict):
            return ".".join(keys), found
    checker.report(
        "W274",
        f"{file} has no audio_config, which says how many rows attend to each other",
        hint="take the config.json that belongs to the checkpoint",
    )
    raise ComposerError(checker.problems)


def expected_settings(
    checker: LayoutChecker, file: Location, at: str, audio: Mapping[str, Any]
) -> Iterator[ExpectedSetting]:
    """Return the settings that are checked against the tensors; report keys that nothing reads."""
    for key, value in audio.items():
        if key in SIZES or key in FIXED:
            yield ExpectedSetting(file, f"{at}.{key}", value, SIZES.get(key), FIXED.get(key))
        elif key == "model_type" and value not in KINDS:
            checker.report("W273", f"{at}.model_type is {show(str(value))}", f"stated in {file}")
    refuse_unread(checker, file, at, audio, (*SIZES, *FIXED, *WINDOWS))
    for key in ("num_mel_bins", "encoder_attention_heads"):
        if key not in audio:
            checker.report("W274", f"{file} has no {at}.{key}, which no tensor shows")


def read_windows(
    checker: LayoutChecker, file: Location, at: str, audio: Mapping[str, Any]
) -> AttentionWindows:
    """Read how many frames are convolved by themselves, and how many attend to each other."""
    half, whole = audio.get("n_window", 50), audio.get("n_window_infer", 800)
    stated = f"{show_bare(half)} and {show_bare(whole)} come from {file}: {at}"
    for key, value in zip(WINDOWS, (half, whole), strict=True):
        if type(value) is not int or not 0 < value <= 30_000:
            checker.report("W273", f"{at}.{key} is no number of frames", stated)
            return AttentionWindows(100, 8)
    if whole % (2 * half):
        checker.report("W273", "n_window_infer is no multiple of twice n_window", stated)
    return AttentionWindows(2 * half, max(whole // (2 * half), 1))

"""What a config says of Gemma-4's vision tower beside its sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from composer.core.location import Location
from composer.formats.file_problems import show_bare

from ..encoder_config import refuse_unread
from ..layout import ExpectedSetting, LayoutChecker

SIZES = {
    "hidden_size": "width",
    "intermediate_size": "inner",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "num_key_value_heads": "heads",
    "head_dim": "head",
    "global_head_dim": "head",
    "position_embedding_size": "positions",
    "patch_size": "side",
}
FIXED = {
    "model_type": "gemma4_vision",
    "hidden_activation": "gelu_pytorch_tanh",
    "attention_bias": False,
}
READ = (
    "pooling_kernel_size", "rms_norm_eps", "rope_parameters", "standardize", "use_clipped_linears",
    "default_output_length",  # of the preparation, which the manifest states
)  # fmt: skip
ROPE_TYPES = ("default", "axial")  # transformers' name for the same angles changed


@dataclass(frozen=True)
class Settings:
    """The numbers that no tensor shows: squares of `pool` x `pool` patches become one row."""

    pool: int
    theta: float
    rms_norm_eps: float


def read_settings(checker: LayoutChecker, file: Location, vision: Mapping[str, Any]) -> Settings:
    """Read a `vision_config`; what it leaves out is transformers' default, and the release's."""
    refuse_unread(checker, file, "vision_config", vision, (*SIZES, *FIXED, *READ))

    def number(value: Any, key: str, default: float) -> float:
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            stated = f"{show_bare(value)} comes from {file}: vision_config.{key}"
            checker.report("W273", f"vision_config.{key} is no number above 0", stated)
            return default
        return float(value)

    pool = number(vision.get("pooling_kernel_size", 3), "pooling_kernel_size", 3)
    if pool != int(pool):
        message = f"vision_config.pooling_kernel_size is {pool}, which is no whole number"
        checker.report("W273", message)
    rope = vision.get("rope_parameters") or {}
    known = isinstance(rope, dict) and rope.get("rope_type", "axial") in ROPE_TYPES
    if not known or rope.keys() - {"rope_type", "rope_theta"}:
        stated = f"{show_bare(rope)} comes from {file}: vision_config.rope_parameters"
        message = (
            "vision_config.rope_parameters has more than rope_theta, or a rope_type that is "
            f"neither {' nor '.join(ROPE_TYPES)}"
        )
        checker.report("W273", message, stated)
        rope = {}
    return Settings(
        pool=int(pool),
        theta=number(rope.get("rope_theta", 100.0), "rope_parameters.rope_theta", 100.0),
        rms_norm_eps=number(vision.get("rms_norm_eps", 1e-6), "rms_norm_eps", 1e-6),
    )


def expected_settings(file: Location, vision: Mapping[str, Any]) -> Iterator[ExpectedSetting]:
    """Return the settings of a `vision_config` that the tensors are checked against."""
    for key, value in vision.items():
        if key in SIZES or key in FIXED:
            yield ExpectedSetting(
                file, f"vision_config.{key}", value, SIZES.get(key), FIXED.get(key)
            )


def check_flag(
    checker: LayoutChecker,
    file: Location,
    vision: Mapping[str, Any],
    key: str,
    stored: bool,
    tensor: str,
) -> None:
    """Check a setting that says whether a tensor is there, against whether it is."""
    stated = vision.get(key, False)
    if stated is not stored:
        has = "has" if stored else "has no"
        checker.report(
            "W273",
            f"{key} contradicts the tensors",
            f"{show_bare(stated)} comes from {file}: vision_config.{key}",
            f"{checker.location} {has} {tensor}",
        )

"""How the features of a clip are padded."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from composer.core.component import ComponentConfig, exactly_one


class ClipPadding(ComponentConfig):
    """How the features of a clip are padded: one of two rules.

    Padding frames look like others to the next node; only `mask` shows which. If an
    onnx.graph follows that keeps valid rows or fills a mask, wire it there: `valid: $mel.mask`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            **exactly_one("multiple_of", "seconds"),
            "dependentRequired": {"slices": ["seconds"]},
        }
    )

    multiple_of: int | None = Field(
        None, ge=1, le=3000, description="frames of 0.0 up to a multiple, as Qwen3-ASR does"
    )
    seconds: int | None = Field(
        None, ge=1, le=300, description="silence up to this length, as Whisper does; no more fits"
    )
    slices: int = Field(
        1,
        ge=1,
        le=1000,
        description="the most slices of `seconds` of a longer clip, the last padded; "
        "each is a clip of its own to normalize and clamp",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.multiple_of is None) == (self.seconds is None):
            raise ValueError("give either multiple_of (frames) or seconds")
        if "slices" in self.model_fields_set and self.seconds is None:
            raise ValueError("slices need seconds, which are not given")
        return self


def padding_for_frames(rate: int, hop: int, pad: ClipPadding | None, frames: int) -> str | None:
    """Return the setting that pads every clip to so many frames; None where `pad` is that.

    It is empty if there is none.
    """
    if pad and pad.multiple_of == frames:
        return None
    seconds, left = divmod(frames * hop, rate)
    if not left and 0 < seconds <= 300:
        return f"pad: {{seconds: {seconds}}}"
    return f"pad: {{multiple_of: {frames}}}" if 0 < frames <= 3000 else ""

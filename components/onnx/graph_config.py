"""What an author says about an ONNX file that the file cannot say itself."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from composer.core.component import ComponentConfig, exactly_one


class FramePadding(ComponentConfig):
    """How many frames the file is fed: one of two rules.

    Frames that audio.log_mel has padded are known by its mask: wire `valid: $mel.mask`.
    """

    model_config = ConfigDict(json_schema_extra=exactly_one("multiple_of", "fixed"))

    multiple_of: int | None = Field(
        None, ge=1, le=1_000_000, description="frames up to a multiple of this"
    )
    fixed: int | None = Field(
        None, ge=1, le=10_000_000, description="always this many frames; more is an error, no cut"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.multiple_of is None) == (self.fixed is None):
            raise ValueError("give either multiple_of or fixed")
        return self

    def length(self, frames: int) -> int:
        """Return the frames that are fed for so many true ones; fewer where they do not fit."""
        if self.fixed is not None:
            return self.fixed
        return frames + -frames % (self.multiple_of or 1)


class InputConfig(ComponentConfig):
    """How one input's value becomes what the file takes."""

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {"fill": ["pad"]}})

    layout: Literal["M F", "F M", "F D"] | None = Field(
        None,
        description="the file's axes: `M F`, frames last, as features come; `F M`, frames first, "
        "so features are transposed for it; `F D`, vectors with frames first, fed as they are",
    )
    pad: FramePadding | None = Field(
        None, description="{multiple_of: N} or {fixed: N} frames; absent: the value's own"
    )
    fill: float = Field(0.0, description="what the padding holds")

    @model_validator(mode="after")
    def _fill_pads(self) -> Self:
        if "fill" in self.model_fields_set and self.pad is None:
            raise ValueError("fill does nothing without pad")
        return self


class OutputConfig(ComponentConfig):
    """The shape of an output as the file computes it, where it declares another or none."""

    shape: list[int | str | None] = Field(
        max_length=16,
        description="each axis: a number, a name for a length that varies, or null; it replaces "
        "what the file declares and is checked on every run",
    )

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        for dim in self.shape:
            if isinstance(dim, int) and not 0 <= dim < 2**31:
                raise ValueError(f"{dim} is not the length of an axis")
            if isinstance(dim, str) and not re.fullmatch(r"[A-Za-z_]\w{0,63}", dim):
                raise ValueError(f"{dim!r} is not a name of letters, digits and underscores")
        return self


class MaskConfig(ComponentConfig):
    """An input of the file that is filled from the true number of frames, so it is no port.

    With an axis it marks each position; without one it takes the number of true positions.
    """

    input: str = Field(min_length=1, max_length=256, description="the mask's name in the file")
    of: str | None = Field(
        None, max_length=256, description="the input whose frames it marks; absent: the only one"
    )
    unit: Literal["frame", "row"] = Field(
        "frame", description="a mark for each frame, or for each row that `rows` counts"
    )
    valid: Literal[0, 1] = Field(1, description="the mark of what is no padding")


class RowCount(ComponentConfig):
    """How many rows come out for n frames, and which of them are kept.

    F(n) = ceil(chunk / stride) * (n // chunk) + ceil((n % chunk) / stride); without a chunk,
    ceil(n / stride). Qwen3-ASR counts so with a chunk of 100 and a stride of 8.
    """

    chunk: int | None = Field(
        None, ge=1, le=1_000_000, description="frames that are encoded apart; absent: all at once"
    )
    stride: int = Field(ge=1, le=1_000_000, description="frames for one row")
    keep: Literal["valid", "all"] = Field(
        "valid",
        description="rows of the true frames, or those of padding too; frames that came padded are "
        "known by the port `valid`",
    )
    output: str | None = Field(
        None, max_length=256, description="the output that has the rows; absent: the first"
    )
    of: str | None = Field(
        None, max_length=256, description="the input that has the frames; absent: the only one"
    )

    def count(self, frames: int) -> int:
        """Return F(frames)."""
        if self.chunk is None:
            return -(-frames // self.stride)
        whole, rest = divmod(frames, self.chunk)
        return -(-self.chunk // self.stride) * whole + -(-rest // self.stride)

    def formula(self, frames: int) -> str:
        """Write F(frames) out."""
        if self.chunk is None:
            return f"ceil({frames}/{self.stride}) = {self.count(frames)}"
        whole = f"ceil({self.chunk}/{self.stride})*({frames}//{self.chunk})"
        rest = f"ceil(({frames}%{self.chunk})/{self.stride})"
        return f"{whole} + {rest} = {self.count(frames)}"


class OnnxGraphConfig(ComponentConfig):
    """What the file cannot say."""

    batch: Literal["auto", "leading", "inputs", "none"] = Field(
        "auto",
        description="which tensors begin with a batch axis, which ports leave out: `leading` all, "
        "`inputs` only those, `none` no tensor, `auto` those where the axis is 1 or is named so",
    )
    inputs: dict[str, InputConfig] = Field(
        default={}, description="by the input's name in the file: layout, pad, fill"
    )
    outputs: dict[str, OutputConfig] = Field(
        default={}, description="by the output's name in the file: its true shape"
    )
    mask: MaskConfig | None = Field(
        None,
        description="the input that marks what is no padding, or takes the number of true frames",
    )
    rows: RowCount | None = Field(None, description="how many rows come out, checked on every run")
    time_limit: float = Field(
        600.0,
        gt=0,
        le=600,
        description="seconds after which a run is stopped; a user may allow more by "
        "--place time_limit=N",
    )

"""Pixels of a picture, prepared as a vision encoder was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from composer.core.call_signature import CALL, OUT, CallSignature
from composer.core.component import (
    Bound,
    Component,
    ComponentConfig,
    Facts,
    Spec,
    exactly_one,
    method,
)
from composer.core.errors import ComposerError, Problem
from composer.core.ports import Dim, Port, parse_ports
from composer.formats.image.image_problems import MAX_PIXELS
from composer.formats.image.picture import Picture
from composer.formats.image.pillow import pillow, require_installed

from .transparency import ALPHA, Alpha, opaque

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers

Side = Annotated[int, Field(ge=1, le=16_384)]
Numbers = Annotated[list[float], Field(min_length=1, max_length=3)]
IMAGE = parse_ports("image")
TWO_NUMBERS: dict[str, Any] = {"type": "array", "minItems": 2, "maxItems": 2}


class PictureSize(ComponentConfig):
    """The size that a picture is scaled to: both sides, or the shorter one."""

    model_config = ConfigDict(
        json_schema_extra={
            **exactly_one("height", "shortest_edge"),
            "dependentRequired": {"height": ["width"], "width": ["height"]},
        }
    )

    height: Side | None = Field(None, description="rows of pixels, with 'width'")
    width: Side | None = Field(None, description="columns of pixels, with 'height'")
    shortest_edge: Side | None = Field(
        None, description="the shorter side; the other one in proportion, rounded down"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        both = self.height is not None and self.width is not None
        one = self.height is not None or self.width is not None
        if both == (self.shortest_edge is not None) or one != both:
            raise ValueError("give height and width, or shortest_edge alone")
        return self

    def of(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and the height that a picture is scaled to."""
        if self.height and self.width:
            return self.width, self.height
        assert self.shortest_edge
        if width <= height:
            return self.shortest_edge, int(self.shortest_edge * height / width)
        return int(self.shortest_edge * width / height), self.shortest_edge


class Crop(ComponentConfig):
    """The part in the middle that is kept."""

    height: Side = Field(description="rows of pixels")
    width: Side = Field(description="columns of pixels")


class Pixels(Component, name="image.pixels"):
    """Scale, crop and normalize a picture into the pixels that a vision encoder takes.

    In this order: transparency, `channels`, `size`, `crop`, `rescale`, then `mean` and `std`.
    Pillow scales, as in those image processors of transformers that use it. No colour profile is
    applied.
    """

    class Config(ComponentConfig):
        """How pixels are prepared: the numbers of a checkpoint's preprocessor_config.json."""

        model_config = ConfigDict(
            json_schema_extra={
                "if": {"properties": {"channels": {"const": "gray"}}, "required": ["channels"]},
                "then": {"properties": {"mean": {"maxItems": 1}, "std": {"maxItems": 1}}},
                "else": {"properties": {"mean": {"not": TWO_NUMBERS}, "std": {"not": TWO_NUMBERS}}},
                "allOf": [{"properties": {"std": {"items": {"exclusiveMinimum": 0}}}}],
            }
        )

        size: PictureSize | None = Field(
            None, description="what the picture is scaled to, if at all"
        )
        resample: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = Field(
            "bicubic", description="how it is scaled: Pillow's filter"
        )
        crop: Crop | None = Field(None, description="what is kept of its middle, if not all")
        rescale: float = Field(
            1 / 255, gt=0, le=1, description="what each value, 0 to 255, is multiplied by"
        )
        mean: Numbers | None = Field(
            None, description="subtracted after that, for each channel or for all"
        )
        std: Numbers | None = Field(
            None, description="divided by after that, for each channel or for all"
        )
        channels: Literal["rgb", "bgr", "gray"] = Field(
            "rgb", description="which channels there are, in their order; also that of mean and std"
        )
        layout: Literal["channels_first", "channels_last"] = Field(
            "channels_first", description="[C, H, W] or [H, W, C]"
        )
        alpha: Alpha = Field("refuse", description=ALPHA)

        @model_validator(mode="after")
        def _check(self) -> Self:
            for name, numbers in (("mean", self.mean), ("std", self.std)):
                if numbers and len(numbers) not in (1, self.depth):
                    raise ValueError(f"{name} has {len(numbers)} numbers for {self.depth} channels")
            largest = 255 * self.rescale
            if self.mean and max(self.mean) > largest * (1 + 1e-6):
                raise ValueError(
                    f"mean {max(self.mean):g} is beyond the pixels, which are 0 to {largest:g} "
                    "after rescale: divide it by 255, or write rescale: 1"
                )
            if self.std and not all(each > 0 for each in self.std):
                raise ValueError("every number of std must be above 0")
            if self.size and self.crop:
                width, height = self.size.of(1, 1)
                if self.crop.height > height or self.crop.width > width:
                    raise ValueError("crop is larger than what size leaves")
            return self

        @property
        def depth(self) -> int:
            """The number of channels."""
            return 1 if self.channels == "gray" else 3

    def __init__(self, config: Config) -> None:
        self.config = config

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        require_installed(cls.name)
        config: Pixels.Config = spec.config
        dims = {}
        fixed: Any = config.crop or (config.size if config.size and config.size.height else None)
        where = "crop" if config.crop else "size"
        if fixed:
            for symbol, side in (("H", "height"), ("W", "width")):
                number = getattr(fixed, side)
                dims[symbol] = Bound(number, f"config.{where}.{side} {number}")
        sides: tuple[Dim, ...] = (config.depth, "H", "W")
        if config.layout == "channels_last":
            sides = ("H", "W", config.depth)
        call = CallSignature({"image": IMAGE}, {OUT: Port(dtype="f32", dims=sides)})
        return Facts(dims, methods={CALL: call})

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        pillow()
        return cls(spec.config)

    @method(image="image", returns="f32 C H W")
    def __call__(self, image: Picture) -> np.ndarray:
        """Return the prepared pixels."""
        config = self.config
        made = pillow().fromarray(opaque(image, config.alpha))
        if config.channels == "gray":
            made = made.convert("L")
        if config.size:
            made = self._scaled(made, config.size)
        pixels = np.asarray(made).reshape(made.height, made.width, config.depth)
        if config.channels == "bgr":
            pixels = pixels[:, :, ::-1]
        if config.crop:
            pixels = self._cropped(pixels, config.crop)
        # As transformers computes it: the product in float64, the rest in float32.
        values: np.ndarray = (pixels.astype(np.float64) * config.rescale).astype(np.float32)
        if config.mean:
            values = values - np.array(config.mean, np.float32)
        if config.std:
            values = values / np.array(config.std, np.float32)
        if config.layout == "channels_first":
            values = values.transpose(2, 0, 1)
        return np.ascontiguousarray(values)

    def _scaled(self, picture: Any, size: PictureSize) -> Any:
        width, height = size.of(picture.width, picture.height)
        if width * height > MAX_PIXELS:
            was = f"{picture.width} x {picture.height}"
            message = f"a picture of {was} pixels would be scaled to {width} x {height}"
            raise ComposerError(Problem("R596", message, hint="cut it to a more usual shape"))
        filter_ = pillow().Resampling[self.config.resample.upper()]
        return picture.resize((width, height), filter_)

    def _cropped(self, pixels: np.ndarray, crop: Crop) -> np.ndarray:
        height, width = pixels.shape[:2]
        top, left = (height - crop.height) // 2, (width - crop.width) // 2
        if top < 0 or left < 0:
            message = f"{height} rows of {width} pixels are less than the crop needs"
            hint = "say under config how it is scaled: size"
            raise ComposerError(Problem("R596", message, hint=hint))
        return pixels[top : top + crop.height, left : left + crop.width]

"""Patches of a picture, prepared as Gemma-4's vision tower takes them.

The formulas are those of transformers' Gemma4ImageProcessorPil, without its padding: a picture is
no longer than its own patches.
"""

from __future__ import annotations

from math import floor, sqrt
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field

from composer.core.call_signature import OUT
from composer.core.component import Bound, Component, ComponentConfig, Facts, Spec, method
from composer.core.sizes import require_size
from composer.formats.image.picture import Picture
from composer.formats.image.pillow import pillow, require_installed

from .transparency import ALPHA, Alpha, opaque

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers


class Gemma4Patches(Component, name="image.gemma4"):
    """Scale a picture to fill a budget of Gemma-4's soft tokens, and cut it into patches.

    Both sides become multiples of `pooling_kernel_size` patches, their ratio rounded down, so that
    each square of so many patches is one soft token. Small pictures are scaled up. Each patch has
    the numbers 0 to 1 of its pixels, row by row, the channels innermost. `flat` has the same
    patches in one list, `positions` the column and the row of each, as encoders published as ONNX
    take them. Pillow scales, as in transformers without torchvision. No colour profile is applied.
    """

    class Config(ComponentConfig):
        """How a picture is cut: the numbers of a checkpoint's processor_config.json."""

        max_soft_tokens: Literal[70, 140, 280, 560, 1120] = Field(
            280, description="how many rows a picture has at most, as Gemma-4 was trained"
        )
        patch_size: int = Field(16, ge=1, le=256, description="the side of a patch, in pixels")
        pooling_kernel_size: int = Field(
            3, ge=1, le=16, description="the side of a soft token, in patches"
        )
        resample: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = Field(
            "bicubic", description="how it is scaled: Pillow's filter"
        )
        alpha: Alpha = Field("refuse", description=ALPHA)

        def size(self, width: int, height: int) -> tuple[int, int]:
            """Return the width and the height that a picture is scaled to."""
            side = self.patch_size * self.pooling_kernel_size
            factor = sqrt(self.max_soft_tokens * side**2 / (height * width))
            rows, columns = floor(factor * height / side), floor(factor * width / side)
            if rows == 0:
                rows, columns = 1, min(width // height, self.max_soft_tokens)
            elif columns == 0:
                rows, columns = min(height // width, self.max_soft_tokens), 1
            return columns * side, rows * side

    def __init__(self, config: Config) -> None:
        self.config = config

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind P, the numbers of a patch."""
        require_installed(cls.name)
        side = spec.config.patch_size
        return Facts({"P": Bound(3 * side**2, f"config.patch_size {side}, of three channels")})

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        pillow()
        return cls(spec.config)

    @method(image="image", returns={OUT: "f32 R C P", "flat": "f32 N P", "positions": "i64 N 2"})
    def __call__(self, image: Picture) -> dict[str, np.ndarray]:
        """Return the patches, row by row."""
        config, made = self.config, pillow().fromarray(opaque(image, self.config.alpha))
        size = config.size(image.width, image.height)
        require_size("the pixels", size[1], size[0], 3)
        if size != (image.width, image.height):
            made = made.resize(size, pillow().Resampling[config.resample.upper()])
        # As transformers computes it: the product in float64, rounded to float32.
        values = (np.asarray(made).astype(np.float64) * (1 / 255)).astype(np.float32)
        side = config.patch_size
        columns, rows = (length // side for length in size)
        patches = values.reshape(rows, side, columns, side, 3).transpose(0, 2, 1, 3, 4)
        grid = np.ascontiguousarray(patches.reshape(rows, columns, -1))
        places = np.meshgrid(np.arange(columns), np.arange(rows))
        positions = np.stack(places, axis=-1).reshape(-1, 2)
        return {OUT: grid, "flat": grid.reshape(len(positions), -1), "positions": positions}

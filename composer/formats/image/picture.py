"""A picture in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright picture: uint8 RGB pixels [H, W, 3], and its source.

    `alpha` is uint8 [H, W], or None where every pixel is opaque. Colours are as the file has them:
    no colour profile is applied.
    """

    pixels: np.ndarray
    source: str
    alpha: np.ndarray | None = None

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return its pixels, with transparency as a fourth channel: kept values are arrays."""
        whole = self.pixels if self.alpha is None else np.dstack([self.pixels, self.alpha])
        return np.array(whole, dtype)

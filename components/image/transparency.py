"""What becomes of a picture's transparency."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from composer.core.errors import ComposerError, Problem
from composer.formats.image.picture import Picture

Byte = Annotated[int, Field(ge=0, le=255)]
Alpha = Literal["refuse", "drop"] | Annotated[list[Byte], Field(min_length=3, max_length=3)]
ALPHA = (
    "what becomes of transparency: an error, nothing (the colour below shows, as in "
    "transformers), or an RGB colour to lay the picture on"
)


def opaque(picture: Picture, alpha: Alpha) -> np.ndarray:
    """Return uint8 pixels [H, W, 3] without transparency; raise R596 where it is to be refused."""
    if picture.alpha is None or alpha == "drop":
        return picture.pixels
    if alpha == "refuse":
        clear = int((picture.alpha < 255).sum())
        message = f"{picture.source} has {clear} transparent pixels"
        hint = "config: {alpha: drop} or a colour, {alpha: [255, 255, 255]}, says what to do"
        raise ComposerError(Problem("R596", message, hint=hint))
    weight = picture.alpha[:, :, None].astype(np.uint32)
    below = np.array(alpha, np.uint32) * (255 - weight)
    return ((picture.pixels * weight + below + 127) // 255).astype(np.uint8)

"""Errors of pictures, and their limits."""

from __future__ import annotations

from composer.core.errors import ComposerError, Place, Problem

MAX_BYTES = 2**28
MAX_PIXELS = 80_000_000  # 240 MB once decoded
MAX_SIDE = 65_535


def picture_error(code: str, name: str, found: str, hint: str | None = None) -> ComposerError:
    """Return the error for one picture."""
    return ComposerError(Problem(code, found, Place(name), hint=hint))


def check_size(width: int, height: int, name: str) -> None:
    """Refuse a picture without pixels, or with more than memory should take."""
    if not width or not height:
        raise picture_error("R592", name, f"the picture is {width} x {height} pixels")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        found = f"the picture is {width} x {height} pixels"
        hint = f"scale it down: the limit is {MAX_PIXELS // 10**6} million, {MAX_SIDE} a side"
        raise picture_error("R593", name, found, hint)

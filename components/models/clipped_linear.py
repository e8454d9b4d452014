"""Gemma-4's Linear of its towers."""

from __future__ import annotations

from .blocks import Array, Blocks


def clipped_linear(nn: Blocks, name: str, x: Array) -> Array:
    """Map rows by a Linear whose input and output stay within its bounds, where it has any."""
    if not nn.has(f"{name}.input_min"):
        return nn.linear(x, f"{name}.linear")
    x = nn.clip(x, nn.weight(f"{name}.input_min"), nn.weight(f"{name}.input_max"))
    y = nn.linear(x, f"{name}.linear")
    return nn.clip(y, nn.weight(f"{name}.output_min"), nn.weight(f"{name}.output_max"))

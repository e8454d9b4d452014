"""Descriptions of weights that are converted when they are loaded."""

from __future__ import annotations

from collections.abc import Sequence

from ..checkpoints.modules import Module


def in_digits(head: Module, size: int) -> str:
    """Describe a head that is read in digits, in groups of a size."""
    loaded = head.nbytes_in_digits(size) / 1e6
    dtype = head.parts["weight"].dtype
    return (
        f"{dtype} -> 20 bits, to 2**-19 of the largest of {size}, in {head.path}: "
        f"{head.stored_nbytes / 1e6:.3g} MB stored, {loaded:.3g} MB loaded"
    )


def widened(form: str, group: Sequence[Module]) -> str:
    """Describe modules of one form that are widened to float32."""
    stored = sum(module.stored_nbytes for module in group) / 1e6
    loaded = sum(module.nbytes(int8_activations=False) for module in group) / 1e6
    return (
        f"{form} -> f32, exactly, in {len(group)} modules: "
        f"{stored:.3g} MB stored, {loaded:.3g} MB loaded"
    )

"""Say below a picture of a bundle what its colours and its words mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.core import registry
from composer.core.units import format_bytes
from composer.graph.graph import facts_of

if TYPE_CHECKING:
    from composer.graph.checked import Checked


@dataclass(frozen=True)
class Key:
    """A box of the legend, by its class in the style sheet, and what it stands for."""

    style: str
    text: str


def bundle_legend(bundle: Checked, backends: Iterable[str]) -> tuple[list[Key], list[str]]:
    """Return the keys of the boxes of a bundle's picture, and notes on its texts."""
    keys = [Key("input", "input"), Key("output", "output")]
    for name in backends:
        keys.append(Key(f"on-{name}", registry.backend(name).title))
    total = sum(facts_of(bundle.components, name).nbytes for name in bundle.components)
    notes = [
        "f32 T 64: 32-bit floats in T rows of 64; T and other letters are lengths of a run",
        "@space: embeddings that belong to a space; .name: one of several outputs",
        "an arrow takes a value to an input, which is named where it is called otherwise",
        f"weights are named at the first node that runs them: {format_bytes(total)} in all",
    ]
    return keys, notes

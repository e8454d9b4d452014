"""Adapters of a decoder that takes them on its embeddings and its head, and whole modules too."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from composer.core.component import Spec

from ..checkpoint import Checkpoint
from .adapters import AdapterFacts, read_adapters
from .pair import layer_projections, outside_projections
from .saved_modules import module_shapes

if TYPE_CHECKING:
    from composer.formats import Headers


def read_decoder_adapters(
    spec: Spec, headers: Headers, checkpoint: Checkpoint, unused: Collection[str] = ()
) -> dict[str, AdapterFacts]:
    """Read every adapter of a component; raise ComposerError with the problems of all."""
    targets = layer_projections(checkpoint) | outside_projections(checkpoint)
    return read_adapters(spec, headers, targets, unused, module_shapes(checkpoint))

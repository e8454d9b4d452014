"""Adapters of an encoder: low-rank updates of its Linears, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from composer.core.component import Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import some

from ..embedding_table import describe_tensor
from ..encoder_checkpoint import EncoderCheckpoint
from .adapters import AdapterFacts, read_adapters
from .pair import LinearShape

if TYPE_CHECKING:
    from composer.formats import Headers


def read_encoder_adapters(
    spec: Spec, headers: Headers, checkpoint: EncoderCheckpoint
) -> dict[str, AdapterFacts]:
    """Read every adapter of an encoder; raise ComposerError with the problems of all."""
    targets = {}
    for name, tensor in checkpoint.tensors.items():
        path, _, part = name.rpartition(".")
        if part == "weight" and len(tensor.shape) == 2:
            outputs, inputs = tensor.shape
            witness = f"{tensor.file}: {describe_tensor(tensor)}"
            targets[path] = LinearShape(inputs, outputs, witness)
    found = read_adapters(spec, headers, targets, part="encoder")
    for adapter in found.values():
        if dora := [pair.path for pair in adapter.pairs if pair.magnitude]:
            message = f"an encoder takes plain LoRA alone, and this is DoRA: {some(dora)}"
            raise ComposerError(Problem("W286", message, Place(str(adapter.files[0]))))
    return found

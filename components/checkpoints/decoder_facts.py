"""The facts that decoders have in common: of their checkpoint, their tokenizer and adapters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from composer.core.component import Bound
from composer.core.errors import Problem
from composer.core.location import Location

from .checkpoint import Checkpoint
from .file_stamps import StampedFacts, stamps
from .lora.adapters import AdapterFacts, embedding_adapters


def decoder_facts(
    checkpoint: Checkpoint,
    tokenizer: Location,
    adapters: Mapping[str, AdapterFacts],
    nbytes: int,
    notes: Iterable[Problem],
) -> StampedFacts:
    """Return facts with D and V, and with what adapters add to the bytes, the lints and the files.

    `nbytes` and `notes` are those of the network without its adapters.
    """
    table = checkpoint.table
    all_notes = list(notes)
    files = [*checkpoint.tensors.files, checkpoint.file, tokenizer]
    for adapter in adapters.values():
        nbytes += adapter.nbytes
        all_notes += adapter.notes
        files += adapter.files
    return StampedFacts(
        dims={"D": Bound(table.width, table.witness), "V": Bound(table.rows, table.witness)},
        nbytes=nbytes,
        embedding_adapters=embedding_adapters(adapters),
        notes=tuple(all_notes),
        stamps=stamps(files),
    )

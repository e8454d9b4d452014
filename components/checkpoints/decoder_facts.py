"""The facts that decoders have in common: of their checkpoint, their tokenizer and adapters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from composer.core.call_signature import CallSignature
from composer.core.component import Bound
from composer.core.errors import Problem
from composer.core.location import Location

from .checkpoint import Checkpoint
from .file_stamps import StampedFacts, stamp_files
from .lora.adapters import AdapterFacts, embedding_adapters
from .tokenizer import unknown_tokens

if TYPE_CHECKING:
    from composer.formats import Headers

NO_END = "L322"  # what ends a text does not matter where none is written


def decoder_facts(
    checkpoint: Checkpoint,
    tokenizer: Location,
    headers: Headers,
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
        stamps=stamp_files(files),
        option_faults=partial(unknown_tokens, tokenizer, headers.tokenizer(tokenizer), table.rows),
    )


def without_ports(
    methods: Mapping[str, CallSignature], missing: Collection[str]
) -> dict[str, CallSignature]:
    """Return the ports of a decoder, without the inputs and methods that it does not have."""
    found = {}
    for name, signature in methods.items():
        if name not in missing:
            inputs = {port: each for port, each in signature.inputs.items() if port not in missing}
            optional = signature.optional.difference(missing)
            found[name] = replace(signature, inputs=inputs, optional=optional)
    return found


def without_head(facts: StampedFacts, methods: Mapping[str, CallSignature]) -> StampedFacts:
    """Return the facts of a decoder whose head is left out: it embeds, and gives hidden states."""
    own = {name: methods[name] for name in ("embed", "hidden")}
    reason = "config.head is false, so that it has no logits"
    missing = dict.fromkeys(methods.keys() - own.keys(), reason)
    notes = tuple(note for note in facts.notes if note.code != NO_END)
    return replace(facts, methods=own, missing_reasons=missing, notes=notes)

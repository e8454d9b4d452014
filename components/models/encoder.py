"""What every encoder has: facts of its network, and rows that are finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from composer.core.backend import Backend
from composer.core.component import Bound
from composer.core.errors import ComposerError, Problem
from composer.core.location import Location
from composer.core.ports import item_bytes
from composer.formats.quantization import Scheme

from ..checkpoints.encoder_checkpoint import EncoderCheckpoint
from ..checkpoints.encoder_packing import encoder_packing
from ..checkpoints.file_stamps import StampedFacts, stamp_files
from ..checkpoints.lora.adapters import AdapterFacts
from ..checkpoints.weight_groups import weight_groups
from .blocks import Array
from .network import Dims, Network

SPEECH = {"M": "mels", "D": "out"}  # mels, and the width of the rows


def encoder_facts(
    weights: Location,
    network: Network,
    backend: Backend,
    checkpoint: EncoderCheckpoint,
    sizes: Mapping[str, str] = SPEECH,
) -> StampedFacts:
    """Return the facts of an encoder; `sizes` are those of its layout that its ports name."""
    dims = {symbol: checkpoint.dims[size] for symbol, size in sizes.items()}
    files = (*checkpoint.files, *checkpoint.configs)
    facts = network_facts(network, backend, dims, checkpoint.notes, files)
    packing = encoder_packing(weights, network.tensors, network.packed, checkpoint.parts)
    return replace(facts, packing=packing)


def with_adapters(facts: StampedFacts, adapters: Mapping[str, AdapterFacts]) -> StampedFacts:
    """Return the facts of an encoder with those of its adapters, which are float32 once loaded."""
    files: list[Location] = []
    notes, nbytes = [*facts.notes], facts.nbytes
    for adapter in adapters.values():
        files += adapter.files
        notes += adapter.notes
        for pair in adapter.pairs:
            nbytes += 4 * pair.ranks[0] * (pair.inputs + pair.outputs)
    stamps = (*facts.stamps, *stamp_files(files))
    return replace(facts, nbytes=nbytes, notes=tuple(notes), stamps=stamps)


def network_facts(
    network: Network,
    backend: Backend,
    dims: Mapping[str, Bound],
    notes: tuple[Problem, ...],
    files: Iterable[Location],
) -> StampedFacts:
    """Return the facts of a network on a backend; weights that it widens are listed among casts."""
    dtype = network.dtype
    if dtype not in backend.dtypes:
        dtype = "f32"
    nbytes = network.nbytes(item_bytes(dtype), backend.packs)
    casts = []
    if dtype != network.dtype:
        stored = network.nbytes(item_bytes(network.dtype), lambda scheme: True)
        sizes = f"{stored / 1e9:.3g} GB stored, {nbytes / 1e9:.3g} GB loaded"
        casts.append(f"{network.dtype} -> {dtype}, exactly, in all tensors: {sizes}")
    schemes = {}
    for path in network.packed:
        if scheme := network.scheme(f"{path}.weight", backend.packs):
            schemes[path] = scheme
    casts += _widened(network, schemes, dtype)
    return StampedFacts(
        dims=dims,
        dtype=dtype,
        nbytes=nbytes,
        casts=tuple(casts),
        notes=notes,
        weights=weight_groups(network.tensors, {}, schemes, dtype),
        stamps=stamp_files(files),
    )


def _widened(network: Network, packed: Mapping[str, Scheme], dtype: str) -> Iterator[str]:
    """Describe the modules that a backend does not multiply packed."""
    counts: dict[tuple[str, bool], int] = {}
    for path, module in network.packed.items():
        if path not in packed:
            kind = module.form, module.packing is None
            counts[kind] = counts.get(kind, 0) + 1
    for (form, alone), count in counts.items():
        why = "" if alone else ", which this backend does not run packed"
        yield f"{form} -> {dtype}, in {count} modules{why}"


def require_finite_rows(
    backend: Backend, parts: Sequence[Any], what: str = "speech encoder"
) -> Any:
    """Return rows [N, D] of all parts; raise R551 where a number is infinite or NaN."""
    for rows in parts:
        if not np.isfinite(backend.to_numpy(rows)).all():
            raise ComposerError(
                Problem(
                    "R551",
                    f"the {what} gave numbers that are not finite",
                    hint="its weights overflow here: run it with precision float32",
                )
            )
    if len(parts) == 1:
        return parts[0]
    return backend.concat(parts)


def encoder_network(
    checkpoint: EncoderCheckpoint,
    forward: Callable[..., Array],
    inputs: Mapping[str, Dims],
    width: int,
) -> Network:
    """Return the network of a checkpoint that makes rows of a width."""
    return Network(
        name=str(checkpoint.files[0]),
        forward=forward,
        inputs=inputs,
        output=("N", width),
        tensors=checkpoint.tensors,
        dtype=checkpoint.dtype,
        torch_ordered=checkpoint.torch_ordered,
        packed=checkpoint.packed,
    )

"""What every encoder has: facts of its network, and rows that are finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from composer.core.backend import Backend
from composer.core.component import Bound
from composer.core.errors import ComposerError, Problem
from composer.core.location import Location
from composer.core.ports import item_bytes

from ..checkpoints.encoder_checkpoint import EncoderCheckpoint
from ..checkpoints.file_stamps import StampedFacts, stamps
from .blocks import Array
from .network import Dims, Network


def encoder_facts(
    network: Network, backend: Backend, checkpoint: EncoderCheckpoint
) -> StampedFacts:
    """Return the facts of an encoder: M mels, and D, the width of its rows."""
    dims = {"M": checkpoint.dims["mels"], "D": checkpoint.dims["out"]}
    files = (*checkpoint.files, *checkpoint.configs)
    return network_facts(network, backend, dims, checkpoint.notes, files)


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
    nbytes = network.nbytes(item_bytes(dtype))
    casts: tuple[str, ...] = ()
    if dtype != network.dtype:
        stored = network.nbytes(item_bytes(network.dtype))
        sizes = f"{stored / 1e9:.3g} GB stored, {nbytes / 1e9:.3g} GB loaded"
        casts = (f"{network.dtype} -> {dtype}, exactly, in all tensors: {sizes}",)
    return StampedFacts(
        dims=dims, dtype=dtype, nbytes=nbytes, casts=casts, notes=notes, stamps=stamps(files)
    )


def finite(backend: Backend, parts: Sequence[Any]) -> Any:
    """Return rows [N, D] of all parts; raise R551 where a number is infinite or NaN."""
    for rows in parts:
        if not np.isfinite(backend.to_numpy(rows)).all():
            raise ComposerError(
                Problem(
                    "R551",
                    "the speech encoder gave numbers that are not finite",
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
        schemes=checkpoint.schemes,
    )

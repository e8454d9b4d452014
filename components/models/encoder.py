"""What every encoder has: facts of its network, and rows that are finite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from composer.core.backend import Backend
from composer.core.component import Bound
from composer.core.errors import ComposerError, Problem
from composer.core.location import Location
from composer.core.ports import item_bytes

from ..checkpoints.file_stamps import StampedFacts, stamps
from .network import Network


def encoder_facts(
    network: Network,
    backend: Backend,
    dims: Mapping[str, Bound],
    notes: tuple[Problem, ...],
    files: Iterable[Location],
) -> StampedFacts:
    """Return the facts of a network on a backend; weights that it widens are listed among casts."""
    dtype = network.dtype if network.dtype in backend.dtypes else "f32"
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
    return parts[0] if len(parts) == 1 else backend.concat(parts)

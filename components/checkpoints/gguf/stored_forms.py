"""Tensors that a GGUF file has in another form than the checkpoint that it was converted from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from composer.formats.safetensors import Tensor

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class InterleavedRotaryRows(Tensor):
    """Queries or keys whose halves of each head are stored row by row in turn.

    llama.cpp turns neighbours by positions, where the checkpoint turns a number of the first half
    of a head and the same of the second.
    """

    head_dim: int = 2


@dataclass(frozen=True, slots=True)
class HalfOfJoined(Tensor):
    """One half of the rows of each expert, whose gate and up projections are stored as one."""

    second: bool = False


@dataclass(frozen=True, slots=True)
class StoredForm(Tensor):
    """A tensor whose numbers are those of the checkpoint once they are restored."""

    def restored(self, rows: Floats) -> Floats:
        """Return rows as the checkpoint has them."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class RaisedByOne(StoredForm):
    """A norm's weight with 1 added, as llama.cpp stores those of Gemma."""

    def restored(self, rows: Floats) -> Floats:
        return rows - np.float32(1)


@dataclass(frozen=True, slots=True)
class StoredAsSoftplus(StoredForm):
    """Numbers of which the softplus is stored, log(1 + exp(x))."""

    def restored(self, rows: Floats) -> Floats:
        wide = rows.astype(np.float64)
        with np.errstate(all="ignore"):  # what no softplus is becomes NaN, which an encoder tells
            return (wide + np.log(-np.expm1(-wide))).astype(np.float32)


@dataclass(frozen=True, slots=True)
class StoredChannelsFirst(StoredForm):
    """Rows for a patch of pixels, its channels one after the other and not pixel by pixel."""

    channels: int = 1

    def restored(self, rows: Floats) -> Floats:
        planes = rows.reshape(len(rows), self.channels, -1)
        return planes.swapaxes(1, 2).reshape(rows.shape)


def tensor_values(tensor: Tensor) -> dict[str, Any]:
    """Return what a tensor says, to make one of another class."""
    return {each.name: getattr(tensor, each.name) for each in fields(Tensor)}

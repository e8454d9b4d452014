"""Tensors that a GGUF file has in another form than the checkpoint that it was converted from."""

from __future__ import annotations

from dataclasses import dataclass

from composer.formats.safetensors import Tensor


@dataclass(frozen=True, slots=True)
class InterleavedRotaryRows(Tensor):
    """Queries or keys whose halves of each head are stored row by row in turn.

    llama.cpp turns neighbours by positions, where the checkpoint turns a number of the first half
    of a head and the same of the second.
    """

    head_dim: int = 2


@dataclass(frozen=True, slots=True)
class RaisedByOne(Tensor):
    """A norm's weight with 1 added, as llama.cpp stores those of Gemma."""

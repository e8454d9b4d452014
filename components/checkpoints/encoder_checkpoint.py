"""What the headers of an encoder say, once they agree with each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from composer.core.component import Bound
from composer.core.errors import Problem
from composer.core.location import Location

from .modules import Module

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor


@dataclass(frozen=True, kw_only=True)
class EncoderCheckpoint:
    """An encoder's tensors by the names of its layout, and the sizes by theirs.

    `torch_ordered` are the weights of convolutions in torch's order. `packed` are the modules that
    are quantized, in their files or when they are loaded; shapes and dtypes here are those that
    they have once they are not. `configs` are the config files that were read, and `parts` the
    files of a checkpoint that is neither one file nor a folder's model.
    """

    tensors: Mapping[str, Tensor]
    dims: Mapping[str, Bound]
    dtype: str
    torch_ordered: frozenset[str]
    configs: tuple[Location, ...]
    notes: tuple[Problem, ...]
    packed: Mapping[str, Module] = field(default_factory=dict)
    parts: tuple[Location, ...] = ()

    @property
    def files(self) -> tuple[Location, ...]:
        """The files that hold a tensor of it."""
        return tuple(dict.fromkeys(tensor.file for tensor in self.tensors.values()))

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes as numbers."""
        return {size: bound.value for size, bound in self.dims.items()}

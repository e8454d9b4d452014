"""A network with its weights, as a backend runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

from composer.core.location import Location
from composer.formats.quantization import Scheme
from composer.formats.safetensors import Tensor

from .blocks import Array, Blocks

if TYPE_CHECKING:
    from composer.formats import Headers

Dims = tuple[int | str, ...]


@dataclass(frozen=True)
class Network:
    """A forward function, the ports it takes, and where its weights are stored.

    `forward(blocks, *inputs)` maps arrays of the shapes `inputs`, whose lengths that vary have
    a name, to one array of the shape `output`. `tensors` are by their names in the layout; those
    that are `torch_ordered` are convolutions stored as [out, in, *kernel], those with a scheme are
    quantized. `dtype` is what the weights are loaded in, where a backend has it.
    """

    name: str
    forward: Callable[..., Array]
    inputs: Mapping[str, Dims]
    output: Dims
    tensors: Mapping[str, Tensor]
    dtype: str
    torch_ordered: frozenset[str] = frozenset()
    schemes: Mapping[str, Scheme] = field(default_factory=dict)

    @property
    def files(self) -> Iterable[Location]:
        """The files that hold a tensor of it."""
        return tuple(dict.fromkeys(tensor.file for tensor in self.tensors.values()))

    def stored(self, headers: Headers) -> dict[str, Tensor]:
        """Return every tensor of those files by its own name, scales of quantized ones included."""
        found: dict[str, Tensor] = {}
        for file in self.files:
            for name, t in headers.safetensors(file).items():
                found[name] = t
        return found

    def nbytes(self, item: int) -> int:
        """Return the bytes of all weights at so many bytes a number."""
        return item * sum(prod(tensor.shape) for tensor in self.tensors.values())

    def write(self, blocks: Blocks, *inputs: Array) -> Array:
        """Run the forward function over the blocks of a backend."""
        return self.forward(blocks, *inputs)

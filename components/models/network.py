"""A network with its weights, as a backend runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod

from composer.core.calibration import Fold, OnInput
from composer.core.location import Location
from composer.formats.quantization import Scheme
from composer.formats.safetensors import Tensor

from ..checkpoints.lora.adapters import AdapterFacts
from ..checkpoints.modules import Module
from .blocks import Array, Blocks

Dims = tuple[int | str, ...]


@dataclass(frozen=True)
class Network:
    """A forward function, the ports it takes, and where its weights are stored.

    `forward(blocks, *inputs)` maps arrays of the shapes `inputs`, whose lengths that vary have
    a name, to one array of the shape `output`; those that are `row_numbers` are whole numbers.
    `tensors` are by their names in the layout; those that are `torch_ordered` are convolutions
    stored as [out, in, *kernel], and `packed` modules are quantized. `dtype` is what the weights
    are loaded in, where a backend has it. `folds` are where a scale of columns can move.
    `adapters` are updates of its Linears, by their names; a run says which are on.
    """

    name: str
    forward: Callable[..., Array]
    inputs: Mapping[str, Dims]
    output: Dims
    tensors: Mapping[str, Tensor]
    dtype: str
    torch_ordered: frozenset[str] = frozenset()
    packed: Mapping[str, Module] = field(default_factory=dict)
    row_numbers: frozenset[str] = frozenset()
    folds: tuple[Fold, ...] = ()
    adapters: Mapping[str, AdapterFacts] = field(default_factory=dict)

    @property
    def files(self) -> Iterable[Location]:
        """The files that hold a tensor of it."""
        return tuple(dict.fromkeys(tensor.file for tensor in self.tensors.values()))

    def nbytes(self, item: int, packs: Callable[[Scheme], bool] = lambda scheme: False) -> int:
        """Return the bytes of all weights at so many bytes a number, but for those in packings."""
        total = 0
        for name, tensor in self.tensors.items():
            scheme = self.scheme(name, packs)
            count = prod(tensor.shape)
            total += scheme.nbytes(count, item) if scheme else item * count
        return total

    def scheme(self, name: str, packs: Callable[[Scheme], bool]) -> Scheme | None:
        """Return how a weight is packed where it is multiplied, None where it is floats there."""
        path, _, part = name.rpartition(".")
        module = self.packed.get(path)
        scheme = module.packing if module and part == "weight" else None
        return scheme if scheme and packs(scheme) else None

    def write(self, blocks: Blocks, *inputs: Array) -> Array:
        """Run the forward function over the blocks of a backend."""
        return self.forward(blocks, *inputs)


class WatchedFunction:
    """A network as a backend runs it, whose Linears can show what goes into them.

    The backend calls each function of `watched` with the rows that go into the Linear of its name.
    """

    network: Network
    watched: Mapping[str, OnInput] = {}

    @contextmanager
    def watch(self, layers: Mapping[str, OnInput]) -> Iterator[None]:
        """Pass on what goes into Linears while the context lasts."""
        self.watched = layers
        try:
            yield
        finally:
            self.watched = {}

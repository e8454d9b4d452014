"""Run a network on MLX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composer.core.placement import Placement

from ..checkpoints.lora.updates import LowRank
from ..models.network import Network, WatchedFunction
from ..models.network_adapters import NetworkAdapters
from .blocks import MlxBlocks
from .device import device_of
from .weights import load_weights


class MlxNetwork(WatchedFunction):
    """A network as a function of MLX arrays, with its weights on one device."""

    def __init__(self, network: Network, placement: Placement) -> None:
        import mlx.core as mx

        self.network = network
        self.device = device_of(placement)
        with mx.stream(self.device):
            self.weights = load_weights(
                network.files,
                network.tensors,
                network.dtype,
                network.torch_ordered,
                network.packed,
            )
        self.schemes = {p: each.packing for p, each in network.packed.items() if each.packing}
        self.adapters = NetworkAdapters(network)
        self.selected: dict[tuple[str, ...], Mapping[str, tuple[Any, Any]]] = {}

    def blocks(self, adapters: tuple[str, ...] = ()) -> MlxBlocks:
        """Return the blocks over its weights, with what these adapters add."""
        if adapters not in self.selected:
            found = self.adapters.selected(adapters)
            self.selected[adapters] = {name: _as_arrays(found[name]) for name in found}
        return MlxBlocks(self.weights, self.schemes, self.watched, self.selected[adapters])

    def __call__(self, *inputs: Any, adapters: tuple[str, ...] = ()) -> Any:
        import mlx.core as mx

        with mx.stream(self.device):
            made = self.network.write(self.blocks(adapters), *inputs)
            mx.eval(made)
            return made


def _as_arrays(update: LowRank) -> tuple[Any, Any]:
    import mlx.core as mx

    return mx.array(update.a), mx.array(update.b)

"""The low-rank updates on a network's Linears, by the adapters that are on."""

from __future__ import annotations

from collections.abc import Mapping

from ..checkpoints.lora.updates import LowRank, read_updates
from .network import Network


class NetworkAdapters:
    """The adapters of one network; `modules` are the Linears that any of them adapts, by shape.

    Nothing is ever added to a weight: with none on, a network is the one that was loaded.
    """

    def __init__(self, network: Network) -> None:
        self.modules: dict[str, tuple[int, int]] = {}
        self.updates: dict[str, dict[str, LowRank]] = {}
        for name, facts in network.adapters.items():
            self.updates[name] = read_updates(name, facts)
            for pair in facts.pairs:
                self.modules[pair.path] = (pair.inputs, pair.outputs)

    def selected(self, names: tuple[str, ...]) -> Mapping[str, LowRank]:
        """Return what these adapters add together, by the paths of modules."""
        found: dict[str, LowRank] = {}
        for name in names:
            for path, update in self.updates[name].items():
                found[path] = found[path].beside(update) if path in found else update
        return found

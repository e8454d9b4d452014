"""Low-rank updates as inputs of a decoder's graph, so that one base serves every selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..checkpoints.lora.adapters import AdapterFacts
from ..checkpoints.lora.pair import LoraPair
from ..checkpoints.lora.selection import check_selected_adapters, require_finite
from ..checkpoints.lora.updates import read_updates
from ..checkpoints.modules import Module
from ..checkpoints.row_reader import RowReader, row_ranges
from ..models.decoder import ParsedDecoder


@dataclass(frozen=True)
class LoraUpdate:
    """A [in, r] and B [r, out], scaled; DoRA's factor [out] of the output where there is one.

    `shift` [out] is what the factor takes of the bias too much.
    """

    a: np.ndarray
    b: np.ndarray
    factor: np.ndarray | None = None
    shift: np.ndarray | None = None

    def is_finite(self) -> bool:
        """Return whether no number of it is infinite or NaN."""
        for array in (self.a, self.b, self.factor, self.shift):
            if array is not None and not np.isfinite(array).all():
                return False
        return True


class OnnxAdapters:
    """The adapters of one decoder, by name; `modules` are those that any of them adapts.

    Without any of them a graph has no such inputs. With none switched on A and B have no columns
    and rows, so that what is added is nothing.
    """

    def __init__(self, found: ParsedDecoder, adapters: Mapping[str, AdapterFacts]) -> None:
        self.adapters = adapters
        self.prefix = found.checkpoint.table.prefix
        self.found = found
        self.modules: dict[str, Module] = {}
        self.scaled: set[str] = set()
        for facts in adapters.values():
            for pair in facts.pairs:
                name = self.prefix + pair.path
                self.modules[name] = found.modules[name]
                if pair.magnitude:
                    self.scaled.add(name)
        self.updates = {name: self._load(name, facts) for name, facts in adapters.items()}
        self.selected: dict[tuple[str, ...], dict[str, np.ndarray]] = {}

    def check(self, names: Sequence[str]) -> None:
        """Raise ComposerError for a selection that cannot be."""
        check_selected_adapters(names, self.adapters)

    def inputs(self, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Return the graph's inputs while exactly these are on; several on one module add up."""
        if names not in self.selected:
            self.selected[names] = self._inputs(names)
        return self.selected[names]

    def _inputs(self, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        given: dict[str, np.ndarray] = {}
        for name, module in self.modules.items():
            outputs, inputs = module.shape
            updates = [self.updates[each][name] for each in names if name in self.updates[each]]
            given[f"lora_a {name}"] = np.zeros((inputs, 0), np.float32)
            given[f"lora_b {name}"] = np.zeros((0, outputs), np.float32)
            if name in self.scaled:
                given[f"factor {name}"] = np.ones(outputs, np.float32)
                given[f"shift {name}"] = np.zeros(outputs, np.float32)
            if len(updates) == 1:
                given[f"lora_a {name}"], given[f"lora_b {name}"] = updates[0].a, updates[0].b
            elif updates:
                given[f"lora_a {name}"] = np.concatenate([each.a for each in updates], axis=1)
                given[f"lora_b {name}"] = np.concatenate([each.b for each in updates], axis=0)
            if updates and updates[0].factor is not None:
                given[f"factor {name}"] = updates[0].factor
            if updates and updates[0].shift is not None:
                given[f"shift {name}"] = updates[0].shift
        return given

    def _load(self, name: str, facts: AdapterFacts) -> dict[str, LoraUpdate]:
        """Load an adapter's pairs; refuse numbers that are not finite."""
        reader, updates, odd = RowReader(), dict[str, LoraUpdate](), []
        plain = read_updates(name, facts)
        for pair in facts.pairs:
            a, b = plain[pair.path]
            update = LoraUpdate(a, b)
            if pair.magnitude:
                update = self._scaled(pair, a, b, reader.whole(pair.magnitude))
            if not update.is_finite():
                odd.append(pair.path)
            updates[self.prefix + pair.path] = update
        require_finite(name, odd)
        return updates

    def _scaled(
        self, pair: LoraPair, a: np.ndarray, b: np.ndarray, magnitude: np.ndarray
    ) -> LoraUpdate:
        """Give the rows of the adapted weight the lengths that DoRA learnt.

        https://arxiv.org/abs/2402.09353, equation 5. The bias is added after it, unscaled.
        """
        reader, module = RowReader(), self.modules[self.prefix + pair.path]
        lengths = []
        for start, end in row_ranges(module):
            adapted = reader.dense(module, start, end) + (a @ b[:, start:end]).T
            lengths.append(np.linalg.norm(adapted, axis=1))
        factor = (magnitude / np.concatenate(lengths)).astype(np.float32)
        if "bias" not in module.parts:
            return LoraUpdate(a, b, factor)
        bias = reader.whole(module.parts["bias"])
        return LoraUpdate(a, b, factor, (1 - factor) * bias)

"""Switch adapters on and off on the modules of a loaded model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.lora.adapters import AdapterFacts
from ..checkpoints.lora.pair import EMBEDDING, HEAD
from ..checkpoints.lora.selection import check_selected_adapters
from .adapted_modules import LoraUpdate, adapted_classes
from .adapter_weights import ModulePlace, find_module, load_weights, replacement_module


class MlxAdapters:
    """The adapters of one model, by name; `switch` selects the active ones.

    An adapted module is replaced, and the original module is
    restored, so that a model without active adapters is exactly the loaded one.
    """

    def __init__(
        self, model: Any, adapters: Mapping[str, AdapterFacts], checkpoint: Checkpoint
    ) -> None:
        """Load the updates; their tensors are all that is added to the model's own."""
        self.adapters = adapters
        self.active: tuple[str, ...] | None = ()
        self.weights = {name: load_weights(name, facts) for name, facts in adapters.items()}
        self.dora_modules: dict[tuple[str, int], Any] = {}
        self.table: ModulePlace | None = None
        paths: set[str] = set()
        for weights in self.weights.values():
            paths |= weights.paths
        inside = sorted(paths - {EMBEDDING, HEAD})
        self.targets = {path: find_module(model, path) for path in inside}
        if paths & {EMBEDDING, HEAD}:
            self._find_table(model, paths)
        for weights in self.weights.values():
            for path, module in weights.saved.items():
                if kept := replacement_module(path, module, self._module(path), checkpoint):
                    weights.modules[path] = kept

    @property
    def updates(self) -> dict[str, dict[str, LoraUpdate]]:
        """The low-rank updates of each adapter by path."""
        return {name: weights.updates for name, weights in self.weights.items()}

    def check(self, names: Sequence[str]) -> None:
        """Raise ComposerError for a selection that cannot be."""
        check_selected_adapters(names, self.adapters)

    def switch(self, names: Sequence[str]) -> None:
        """Switch exactly these adapters on; where several adapt one module, they add up."""
        names = tuple(names)
        if names == self.active:
            return
        self.check(names)
        self.active = None  # until all are in place: what fails in between must not pass for either
        for path, place in self.targets.items():
            place.put(self._adapted(path, names, place.module))
        if self.table:
            self.table.put(self._adapted_table(names))
        self.active = names

    def _adapted(self, path: str, names: tuple[str, ...], module: Any) -> Any:
        """Return a module as adapters make it; DoRA's are computed once, as they read the base."""
        updates = []
        for name in names:
            weights = self.weights[name]
            module = weights.modules.get(path, module)
            if path in weights.updates:
                updates.append(weights.updates[path])
        if not updates:
            return module
        kinds = adapted_classes()
        lora, dora = kinds.lora, kinds.dora
        if path == EMBEDDING:
            lora, dora = kinds.lora_table, kinds.dora_table
        if not updates[0].has_magnitude:
            return lora(module, updates)
        key = path, id(updates[0])
        if key not in self.dora_modules:
            self.dora_modules[key] = dora(module, updates[0])
        return self.dora_modules[key]

    def _find_table(self, model: Any, paths: set[str]) -> None:
        """Find the table of embeddings, and the head that may be tied to it."""
        self.table = find_module(model, EMBEDDING)
        self.head = adapted_classes().tied_head(self.table.module)
        self.is_tied = "lm_head" not in model
        if not self.is_tied and HEAD in paths:
            self.targets[HEAD] = find_module(model, HEAD)
        if self.is_tied:
            for weights in self.weights.values():
                weights.tie()

    def _module(self, path: str) -> Any:
        if path in self.targets:
            return self.targets[path].module
        assert self.table
        return self.table.module

    def _adapted_table(self, names: tuple[str, ...]) -> Any:
        """Return what stands for the table; its head is its own where that is tied."""
        assert self.table
        rows = self._adapted(EMBEDDING, names, self.table.module)
        head = self.head
        if self.is_tied:
            head = self._adapted(HEAD, names, head)
        if rows is self.table.module and head is self.head:
            return self.table.module
        return adapted_classes().table(rows, head)

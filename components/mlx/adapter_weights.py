"""Load the weights of an adapter, and find the modules that they adapt."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from composer.core.errors import ComposerError, Problem

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.lora.adapters import AdapterFacts
from ..checkpoints.lora.pair import EMBEDDING, HEAD
from ..checkpoints.lora.selection import require_finite
from . import loader
from .adapted_modules import LoraUpdate


@dataclass
class SavedWeights:
    """The weight of a whole module, and its bias; a `base` stands under an update."""

    tensors: Mapping[str, Any]
    base: bool


@dataclass
class AdapterWeights:
    """What one adapter adds, by path: updates, and whole modules as they were saved and as modules.

    `table_updates` are those of mlx-lm's names, which adapt a table and the head tied to it alike.
    """

    updates: dict[str, LoraUpdate]
    saved: dict[str, SavedWeights]
    shared: tuple[str, ...] = ()
    modules: dict[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> set[str]:
        """The paths of all modules that it adapts."""
        return {*self.updates, *self.saved}

    def tie(self) -> None:
        """Adapt the head as the table, where mlx-lm has adapted one for both."""
        if EMBEDDING in self.shared:
            self.updates[HEAD] = self.updates[EMBEDDING].transposed()


@dataclass(frozen=True)
class ModulePlace:
    """Where a module stands: its parent, and its key there."""

    parent: Any
    key: str
    module: Any

    def put(self, module: Any) -> None:
        """Let another module stand there."""
        if self.key.isdigit():
            self.parent[int(self.key)] = module
        else:
            setattr(self.parent, self.key, module)


def load_weights(name: str, facts: AdapterFacts) -> AdapterWeights:
    """Load an adapter's tensors; refuse numbers that are not finite."""
    import mlx.core as mx

    weights = loader.read_lazily(facts.weights)
    updates, saved, not_finite = dict[str, LoraUpdate](), {}, []
    for pair in facts.pairs:
        a, b, magnitude = weights.pop(pair.a.name), weights.pop(pair.b.name), None
        if pair.transposed:
            a, b = b, a
        elif pair.flipped:
            a, b = mx.contiguous(a.T), mx.contiguous(b.T)
        tensors = [a, b]
        if pair.magnitude:
            magnitude = weights.pop(pair.magnitude.name)
            tensors.append(magnitude)
        if not _are_finite(tensors):
            not_finite.append(pair.path)
        update, before = LoraUpdate(a, b, pair.scale, magnitude), updates.get(pair.path)
        if pair.blocks:
            update = LoraUpdate(a, b * mx.array(pair.blocks)[:, None], 1.0)
        updates[pair.path] = before.beside(update) if before else update
    for module in facts.saved:
        leaves = {leaf: weights.pop(tensor.name) for leaf, tensor in module.tensors.items()}
        if not _are_finite([*leaves.values()]):
            not_finite.append(module.path)
        saved[module.path] = SavedWeights(leaves, module.base)
    require_finite(name, not_finite)
    shared = tuple(pair.path for pair in facts.pairs if not pair.flipped)
    return AdapterWeights(updates, saved, shared)


def _are_finite(tensors: list[Any]) -> bool:
    import mlx.core as mx

    mx.eval(tensors)
    return all(mx.all(mx.isfinite(each)).item() for each in tensors)


def find_module(model: Any, path: str) -> ModulePlace:
    """Return where a module of a decoder stands in mlx-lm's model."""
    full = path
    if not path.startswith("layers."):
        full = _full_path(model, path)
    parent: Any = model
    *above, key = full.split(".")
    for part in above:
        parent = _child(parent, part)
    module = _child(parent, key)
    if module is None or "weight" not in module:
        kind = type(module).__name__ if module else "nothing"
        message = f"mlx-lm's {model.model_type} has {kind} at {path}, which is not a linear layer"
        raise ComposerError(Problem("R563", message))
    return ModulePlace(parent, key, module)


def _child(parent: Any, key: str) -> Any:
    if key.isdigit():
        return parent[int(key)]
    return getattr(parent, key, None)


def _full_path(model: Any, path: str) -> str:
    """Return the path from the model of a module outside the layers."""
    found = []
    for name, _ in model.named_modules():
        if f".{name}".endswith(f".{path}") and ".layers." not in f".{name}":
            found.append(name)
    return found[0] if len(found) == 1 else path


def replacement_module(path: str, saved: SavedWeights, module: Any, checkpoint: Checkpoint) -> Any:
    """Return a module with saved weights in place of the decoder's; None where they are the same.

    Its weights get the dtype of those that they replace. Raise ComposerError where the decoder has
    the tensor in another form than the file, or an update was trained on another table.
    """
    import mlx.core as mx
    import mlx.nn

    nn: Any = mlx.nn
    packed = "scales" in module
    dtype = module.scales.dtype if packed else module.weight.dtype
    if not mx.issubdtype(dtype, mx.floating):
        dtype = mx.bfloat16  # what integer scales unpack to
    tensors = {leaf: value.astype(dtype) for leaf, value in saved.tensors.items()}
    mx.eval(tensors)
    if saved.base and not packed:
        if mx.array_equal(tensors["weight"], module.weight).item():
            return None
        raise _unlike_base(path, "was trained on another table than the decoder's")
    if isinstance(module, nn.Embedding | nn.QuantizedEmbedding):
        if path == HEAD:
            return _filled(nn.Linear(1, 1, bias=False), tensors)
        return _filled(nn.Embedding(1, 1), tensors)
    if isinstance(module, nn.Linear | nn.QuantizedLinear):
        return _filled(nn.Linear(1, 1, bias="bias" in tensors), tensors)
    stored = loader.read_lazily(checkpoint.tensors.files)
    for leaf in tensors:
        found = [name for name in stored if f".{name}".endswith(f".{path}.{leaf}")]
        if len(found) == 1 and mx.array_equal(stored[found[0]].astype(dtype), module[leaf]).item():
            continue
        raise _unlike_base(path, "replaces what mlx-lm changes when it loads it")
    return _filled(copy.copy(module), tensors)


def _filled(module: Any, tensors: Mapping[str, Any]) -> Any:
    for leaf, value in tensors.items():
        module[leaf] = value
    return module


def _unlike_base(path: str, what: str) -> ComposerError:
    hint = "merge the adapter into the decoder's weights"
    return ComposerError(Problem("R566", f"the adapter's {path} {what}", hint=hint))

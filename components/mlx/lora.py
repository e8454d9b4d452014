"""Switch low-rank updates on and off on the linear layers of a loaded model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from composer.core.errors import ComposerError, Problem

from ..checkpoints.lora.adapters import AdapterFacts
from ..checkpoints.lora.selection import check_selection, require_finite
from . import loader


class Update(NamedTuple):
    """A [in, r], B [r, out] and the scale; DoRA's magnitude [out] where there is one."""

    a: Any
    b: Any
    scale: float
    magnitude: Any = None

    def of(self, x: Any) -> Any:
        """Return what is added to the output for rows x [T, in], in their dtype."""
        return (self.scale * ((x @ self.a) @ self.b)).astype(x.dtype)


class Adapters:
    """The adapters of one model, by name; `switch` selects the active ones.

    An adapted module is replaced, and the original module is
    restored, so that a model without active adapters is exactly the loaded one.
    """

    def __init__(self, model: Any, adapters: Mapping[str, AdapterFacts]) -> None:
        """Load the updates; their tensors are all that is added to the model's own."""
        self.adapters = adapters
        self.active: tuple[str, ...] | None = ()
        self.updates = {name: _load(name, facts) for name, facts in adapters.items()}
        paths = {path for updates in self.updates.values() for path in updates}
        self.dora_modules: dict[tuple[str, int], Any] = {}
        self.targets = {path: _find_module(model, path) for path in sorted(paths)}

    def check(self, names: Sequence[str]) -> None:
        """Raise ComposerError for a selection that cannot be."""
        check_selection(names, self.adapters)

    def switch(self, names: Sequence[str]) -> None:
        """Switch exactly these adapters on; where several adapt one module, they add up."""
        names = tuple(names)
        if names == self.active:
            return
        self.check(names)
        self.active = None  # until all are in place: what fails in between must not pass for either
        for path, (parent, key, module) in self.targets.items():
            updates = [self.updates[name][path] for name in names if path in self.updates[name]]
            if updates:
                module = self._adapted(path, updates, module)
            if key.isdigit():
                parent[int(key)] = module
            else:
                setattr(parent, key, module)
        self.active = names

    def _adapted(self, path: str, updates: list[Update], module: Any) -> Any:
        """Return a module with updates; DoRA's are computed once, as they read the base."""
        if updates[0].magnitude is None:
            return _modules()[0](module, updates)
        key = path, id(updates[0])
        if key not in self.dora_modules:
            self.dora_modules[key] = _modules()[1](module, updates[0])
        return self.dora_modules[key]


@cache
def _modules() -> tuple[Any, Any]:
    """Return the modules that add updates to a linear layer: LoRA's and DoRA's."""
    import mlx.core as mx
    import mlx.nn

    nn: Any = mlx.nn

    class LoraLinear(nn.Module):  # type: ignore[misc]
        """A linear layer and the updates on it, computed in their own dtype as mlx-lm does."""

        def __init__(self, linear: Any, updates: list[Update]) -> None:
            super().__init__()
            self.linear = linear
            self._updates = updates

        def __call__(self, x: Any) -> Any:
            y = self.linear(x)
            for update in self._updates:
                y = y + update.of(x)
            return y

    class DoraLinear(nn.Module):  # type: ignore[misc]
        """A linear layer whose rows, with their update, have the lengths that DoRA learnt.

        https://arxiv.org/abs/2402.09353, equation 5; as mlx-lm and PEFT compute it.
        """

        def __init__(self, linear: Any, update: Update) -> None:
            super().__init__()
            self.linear = linear
            self._update = update
            rows = _rows(linear) + update.scale * (update.b.T @ update.a.T).astype(mx.float32)
            length = mx.linalg.norm(rows, axis=1)
            self._factor = update.magnitude.astype(mx.float32) / length
            mx.eval(self._factor)

        def __call__(self, x: Any) -> Any:
            y = self.linear(x)
            bias = self.linear.get("bias")
            y = y if bias is None else y - bias
            y = self._factor.astype(x.dtype) * (y + self._update.of(x))
            return y if bias is None else y + bias

    return LoraLinear, DoraLinear


def _rows(linear: Any) -> Any:
    """Return a layer's weight [out, in] as float32."""
    import mlx.core as mx

    if "scales" not in linear:
        return linear.weight.astype(mx.float32)
    found = mx.dequantize(
        linear.weight,
        linear.scales,
        linear.get("biases"),
        group_size=linear.group_size,
        bits=linear.bits,
        mode=linear.mode,
    )
    return found.astype(mx.float32)


def _load(name: str, facts: AdapterFacts) -> dict[str, Update]:
    """Load an adapter's pairs; refuse numbers that are not finite."""
    import mlx.core as mx

    weights = loader.read([facts.weights])
    updates, not_finite = {}, []
    for pair in facts.pairs:
        sides = [weights.pop(tensor.name) for tensor in (pair.a, pair.b)]
        a, b = (mx.contiguous(side.T) for side in sides) if pair.flipped else sides
        tensors = [a, b]
        if pair.magnitude:
            tensors.append(weights.pop(pair.magnitude.name))
        mx.eval(tensors)
        if not all(mx.all(mx.isfinite(each)).item() for each in tensors):
            not_finite.append(pair.path)
        updates[pair.path] = Update(a, b, facts.scales[pair.path], *tensors[2:])
    require_finite(name, not_finite)
    return updates


def _find_module(model: Any, path: str) -> tuple[Any, str, Any]:
    """Return a module's parent, its key there, and the module."""
    import mlx.nn

    nn: Any = mlx.nn
    parent: Any = model
    *above, key = path.split(".")
    for part in above:
        parent = parent[int(part)] if part.isdigit() else getattr(parent, part, None)
    module = parent[int(key)] if key.isdigit() else getattr(parent, key, None)
    if not isinstance(module, nn.Linear | nn.QuantizedLinear):
        kind = type(module).__name__ if module else "nothing"
        raise ComposerError(
            Problem(
                "R563",
                f"mlx-lm's {model.model_type} has {kind} at {path}, which is not a linear layer",
            )
        )
    return parent, key, module

"""Put low-rank updates on the linear layers of a loaded model, and take them off again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed, some, with_nearest
from composer.generation.options import once

from ..checkpoints.lora.adapters import AdapterFacts
from . import loader

Update = tuple[Any, Any, float]  # A [in, r], B [r, out] and the scale


class Adapters:
    """The adapters of one model, by name; `switch` says which of them are on.

    A module that is adapted is replaced, and the very module that the model was loaded with is
    put back, so that a model with none on is the one that was loaded.
    """

    def __init__(self, model: Any, adapters: Mapping[str, AdapterFacts]) -> None:
        """Load the updates; their tensors are all that is added to the model's own."""
        self.on: tuple[str, ...] | None = ()
        self.updates = {name: _load(name, facts) for name, facts in adapters.items()}
        paths = {path for updates in self.updates.values() for path in updates}
        self.places = {path: _place(model, path) for path in sorted(paths)}

    def check(self, names: Sequence[str]) -> None:
        """Raise ComposerError for a name that is none of an adapter, or is there twice."""
        problems = [
            Problem(
                "R560",
                with_nearest(f"there is no adapter '{name}'", name, self.updates),
                hint=f"there are: {listed(self.updates)}",
            )
            for name in names
            if name not in self.updates
        ]
        if problems:
            raise ComposerError(problems)
        once(names)

    def switch(self, names: Sequence[str]) -> None:
        """Switch exactly these adapters on; where several adapt one module, they add up."""
        names = tuple(names)
        if names == self.on:
            return
        self.check(names)
        self.on = None  # until all are in place: what fails in between must not pass for either
        for path, (parent, key, module) in self.places.items():
            updates = [self.updates[name][path] for name in names if path in self.updates[name]]
            put = _adapted()(module, updates) if updates else module
            if key.isdigit():
                parent[int(key)] = put
            else:
                setattr(parent, key, put)
        self.on = names


@cache
def _adapted() -> Any:
    """Return the module that adds updates to what a linear layer gives."""
    import mlx.nn

    nn: Any = mlx.nn

    class Adapted(nn.Module):  # type: ignore[misc]
        """A linear layer and the updates on it, computed in their own dtype as mlx-lm does."""

        def __init__(self, linear: Any, updates: list[Update]) -> None:
            super().__init__()
            self.linear = linear
            self._updates = updates

        def __call__(self, x: Any) -> Any:
            y = self.linear(x)
            for a, b, scale in self._updates:
                y = y + (scale * ((x @ a) @ b)).astype(x.dtype)
            return y

    return Adapted


def _load(name: str, facts: AdapterFacts) -> dict[str, Update]:
    """Read an adapter's live pairs; refuse numbers that are none."""
    import mlx.core as mx

    weights = loader.read([facts.weights])
    updates, odd = {}, []
    for pair in facts.pairs:
        sides = [weights.pop(tensor.name) for tensor in (pair.a, pair.b)]
        a, b = (mx.contiguous(side.T) for side in sides) if pair.flipped else sides
        finite = mx.all(mx.isfinite(a)) & mx.all(mx.isfinite(b))
        mx.eval(a, b)
        if not finite.item():
            odd.append(pair.path)
        updates[pair.path] = (a, b, facts.scale)
    if odd:
        raise ComposerError(
            Problem(
                "R562",
                f"the adapter '{name}' holds numbers that are not finite, in {some(odd)}",
                hint="its training diverged, or the file is damaged",
            )
        )
    return updates


def _place(model: Any, path: str) -> tuple[Any, str, Any]:
    """Return what holds a module, under which key, and the module."""
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
            Problem("R563", f"mlx-lm's {model.model_type} has {kind} at {path}, no linear layer")
        )
    return parent, key, module

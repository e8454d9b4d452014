"""Put low-rank updates on the linear layers of a loaded model, and take them off again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed, some, with_nearest
from composer.generation.options import check_unique_adapters

from ..checkpoints.lora.adapters import AdapterFacts
from . import loader


class Update(NamedTuple):
    """A [in, r], B [r, out] and the scale; DoRA's magnitude [out] where there is one."""

    a: Any
    b: Any
    scale: float
    magnitude: Any = None


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
        self.magnified: dict[tuple[str, int], Any] = {}
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
        check_unique_adapters(names)
        on = [path for name in names for path in self.updates[name]]
        twice = {path for path, count in Counter(on).items() if count > 1}
        if any(
            self.updates[name][path].magnitude is not None
            for name in names
            for path in twice & self.updates[name].keys()
        ):
            raise ComposerError(
                Problem(
                    "R564",
                    f"{listed(names)} adapt the same modules, and one of them is DoRA, which "
                    f"scales the whole output of a module: {some(sorted(twice))}",
                    hint="switch them on one at a time",
                )
            )

    def switch(self, names: Sequence[str]) -> None:
        """Switch exactly these adapters on; where several adapt one module, they add up."""
        names = tuple(names)
        if names == self.on:
            return
        self.check(names)
        self.on = None  # until all are in place: what fails in between must not pass for either
        for path, (parent, key, module) in self.places.items():
            updates = [self.updates[name][path] for name in names if path in self.updates[name]]
            adapted = self._module(path, updates, module) if updates else module
            if key.isdigit():
                parent[int(key)] = adapted
            else:
                setattr(parent, key, adapted)
        self.on = names

    def _module(self, path: str, updates: list[Update], module: Any) -> Any:
        """Return a module with updates; those of DoRA are made once, since each reads the base."""
        if updates[0].magnitude is None:
            return _adapted()(module, updates)
        key = path, id(updates[0])
        if key not in self.magnified:
            self.magnified[key] = _adapted()(module, updates)
        return self.magnified[key]


@cache
def _adapted() -> Callable[[Any, list[Update]], Any]:
    """Return what makes a module that adds updates to what a linear layer gives."""
    import mlx.core as mx
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
            for update in self._updates:
                low_rank = (update.scale * ((x @ update.a) @ update.b)).astype(x.dtype)
                y = y + low_rank
            return y

    class Magnified(nn.Module):  # type: ignore[misc]
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
            a, b, scale, _ = self._update
            y = self.linear(x)
            bias = self.linear.get("bias")
            y = y if bias is None else y - bias
            y = y + (scale * ((x @ a) @ b)).astype(x.dtype)
            y = self._factor.astype(x.dtype) * y
            return y if bias is None else y + bias

    def adapted(linear: Any, updates: list[Update]) -> Any:
        if updates[0].magnitude is None:
            return Adapted(linear, updates)
        return Magnified(linear, updates[0])

    return adapted


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
    """Read an adapter's live pairs; refuse numbers that are none."""
    import mlx.core as mx

    weights = loader.read([facts.weights])
    updates, odd = {}, []
    for pair in facts.pairs:
        sides = [weights.pop(tensor.name) for tensor in (pair.a, pair.b)]
        a, b = (mx.contiguous(side.T) for side in sides) if pair.flipped else sides
        own = [a, b]
        if pair.magnitude:
            own.append(weights.pop(pair.magnitude.name))
        mx.eval(own)
        if not all(mx.all(mx.isfinite(each)).item() for each in own):
            odd.append(pair.path)
        updates[pair.path] = Update(a, b, facts.scales[pair.path], *own[2:])
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

"""Modules of MLX with low-rank updates on them: linear layers, tables of embeddings and heads."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple


class LoraUpdate(NamedTuple):
    """A [in, r], B [r, out] and the scale; DoRA's magnitude [out] where there is one."""

    a: Any
    b: Any
    scale: float
    magnitude: Any = None

    @property
    def has_magnitude(self) -> bool:
        """Return whether it is DoRA's."""
        return self.magnitude is not None

    def of(self, x: Any) -> Any:
        """Return what is added to the output for rows x [T, in], in their dtype."""
        return (self.scale * ((x @ self.a) @ self.b)).astype(x.dtype)

    def of_ids(self, ids: Any, dtype: Any) -> Any:
        """Return what is added to the rows of a table [in, out]."""
        return (self.scale * (self.a[ids] @ self.b)).astype(dtype)

    def lengths(self, weight: Any) -> Any:
        """Return the length of each output of a float32 weight [out, in] with this update."""
        import mlx.core as mx

        rows = weight + self.scale * (self.b.T @ self.a.T).astype(mx.float32)
        return mx.linalg.norm(rows, axis=1)

    def factor(self, weight: Any) -> Any:
        """Return what DoRA multiplies each output by: its magnitude over its length."""
        import mlx.core as mx

        found = self.magnitude.astype(mx.float32) / self.lengths(weight)
        mx.eval(found)
        return found

    def beside(self, other: LoraUpdate) -> LoraUpdate:
        """Return both updates of one module as one, where neither is DoRA's."""
        import mlx.core as mx

        a = mx.concatenate([self.a, other.a], axis=1)
        return LoraUpdate(a, mx.concatenate([self.scale * self.b, other.scale * other.b]), 1.0)

    def transposed(self) -> LoraUpdate:
        """Return the update of a table as that of the head that is tied to it."""
        return LoraUpdate(self.b.T, self.a.T, self.scale)


class AdaptedClasses(NamedTuple):
    """Classes that need MLX to be imported."""

    lora: Any
    dora: Any
    lora_table: Any
    dora_table: Any
    tied_head: Any
    table: Any


@cache
def adapted_classes() -> AdaptedClasses:
    """Return the modules that add updates to others, computed in their own dtype as mlx-lm does."""
    import mlx.core as mx
    import mlx.nn

    nn: Any = mlx.nn

    class LoraLinear(nn.Module):  # type: ignore[misc]
        """A linear layer and the updates on it."""

        def __init__(self, linear: Any, updates: list[LoraUpdate]) -> None:
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

        def __init__(self, linear: Any, update: LoraUpdate) -> None:
            super().__init__()
            self.linear = linear
            self._update = update
            self._factor = update.factor(_weight_of(linear).astype(mx.float32))

        def __call__(self, x: Any) -> Any:
            y = self.linear(x)
            factor, update = self._factor.astype(x.dtype), self._update.of(x)
            bias = self.linear.get("bias")
            if bias is None:
                return factor * (y + update)
            return factor * (y - bias + update) + bias

    class LoraTable(nn.Module):  # type: ignore[misc]
        """A table of embeddings and the updates on it."""

        def __init__(self, table: Any, updates: list[LoraUpdate]) -> None:
            super().__init__()
            self.table = table
            self._updates = updates

        def __call__(self, ids: Any) -> Any:
            rows = self.table(ids)
            for update in self._updates:
                rows = rows + update.of_ids(ids, rows.dtype)
            return rows

    class DoraTable(nn.Module):  # type: ignore[misc]
        """A table whose columns, with their update, have the lengths that DoRA learnt."""

        def __init__(self, table: Any, update: LoraUpdate) -> None:
            super().__init__()
            self.table = table
            self._update = update
            self._factor = update.factor(_weight_of(table).astype(mx.float32).T)

        def __call__(self, ids: Any) -> Any:
            rows = self.table(ids)
            return self._factor.astype(rows.dtype) * (rows + self._update.of_ids(ids, rows.dtype))

    class TiedHead(nn.Module):  # type: ignore[misc]
        """A table of embeddings as the linear layer that it is at the end."""

        def __init__(self, table: Any) -> None:
            super().__init__()
            self.table = table

        def __call__(self, x: Any) -> Any:
            return self.table.as_linear(x)

    class AdaptedTable(nn.Module):  # type: ignore[misc]
        """What stands for a table of embeddings, looked up and as a head in its own ways."""

        def __init__(self, rows: Any, head: Any) -> None:
            super().__init__()
            self.rows = rows
            self.head = head

        def __call__(self, ids: Any) -> Any:
            return self.rows(ids)

        def as_linear(self, x: Any) -> Any:
            return self.head(x)

    return AdaptedClasses(LoraLinear, DoraLinear, LoraTable, DoraTable, TiedHead, AdaptedTable)


def _weight_of(module: Any) -> Any:
    """Return the weight [out, in] of a linear layer, or that [V, D] of a table, unpacked."""
    import mlx.core as mx

    if "table" in module:
        return _weight_of(module.table)
    if "scales" not in module:
        return module.weight
    return mx.dequantize(
        module.weight,
        module.scales,
        module.get("biases"),
        group_size=module.group_size,
        bits=module.bits,
        mode=module.mode,
    )

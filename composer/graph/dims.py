"""Unify symbolic dims across a graph, with a witness for each number."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from composer.core.component import Bound

Var = Hashable
Length = int | Var


@dataclass(frozen=True)
class Conflict:
    """Two numbers for one dim: the left one's and the right one's, each with its witness."""

    left: Bound
    right: Bound


class DimUnifier:
    """Equivalence classes of dims; each class has at most one number."""

    def __init__(self) -> None:
        self._parent: dict[Var, Var] = {}
        self._bound: dict[Var, Bound] = {}

    def root(self, var: Var) -> Var:
        """Return the variable that represents the class of `var`."""
        while var in self._parent:
            var = self._parent[var]
        return var

    def bound(self, dim: Length, witness: str = "") -> Bound | None:
        """Return the number of a dim and its witness; None where it is still free."""
        if isinstance(dim, int):
            return Bound(dim, witness)
        return self._bound.get(self.root(dim))

    def unify(self, left: Length, right: Length, witness: str = "") -> Conflict | None:
        """Unify two dims; `witness` is the source of a literal number among them."""
        a, b = self.bound(left, witness), self.bound(right, witness)
        if a and b:
            if a.value != b.value:
                return Conflict(a, b)
            self._join(left, right)
            return None
        if isinstance(left, int) or isinstance(right, int):
            var, number = (right, a) if isinstance(left, int) else (left, b)
            assert number is not None
            self._bound[self.root(var)] = number
            return None
        self._join(left, right)
        return None

    def _join(self, left: Length, right: Length) -> None:
        if isinstance(left, int) or isinstance(right, int):
            return
        a, b = self.root(left), self.root(right)
        if a != b:
            keep, drop = (a, b) if a in self._bound else (b, a)
            self._parent[drop] = keep
            self._bound.pop(drop, None)

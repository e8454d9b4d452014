"""Follow bfloat16 through the nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterable, Set

BFLOAT16 = 16  # the element type, as an attribute names it
# They copy values of any type.
MOVES = frozenset(
    "Concat Flatten Gather GatherND Identity Reshape Slice Split Squeeze"
    " Transpose Unsqueeze".split()
)
MEASURES = frozenset(("Shape", "Size"))  # of values of any type


class BFloat16Values:
    """The values that are bfloat16, with where each comes from: a `stored` tensor, or a cast.

    `operators` are those that compute with one, each with its first one's origin.
    """

    def __init__(self, stored: Set[str]) -> None:
        self.stored = stored
        self.origins: dict[str, str] = {}
        self.operators: dict[str, str] = {}

    def visit(
        self, op: str, inputs: Iterable[str], outputs: Iterable[str], target: int | None
    ) -> None:
        """Follow one node; `target` is the element type that a Cast makes."""
        if op == "Cast":
            if target == BFLOAT16:
                for name in outputs:
                    self.origins[name] = f"cast to bfloat16: {name}"
            return
        found = filter(None, map(self._origin, inputs))
        origin = max(found, default=None)  # a stored tensor before a cast
        if origin is None or op in MEASURES:
            return
        if op in MOVES:
            self.origins.update(dict.fromkeys(outputs, origin))
        else:
            self.operators.setdefault(op, origin)

    def _origin(self, name: str) -> str | None:
        if name in self.stored:
            return f"stored as bfloat16: {name}"
        return self.origins.get(name)

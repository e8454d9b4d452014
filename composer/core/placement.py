"""Where a bundle runs on this machine: a matter of the user, never of the manifest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Placement:
    """How a component is placed; None leaves the choice to its backend.

    `providers` are ONNX Runtime's execution providers in order, `threads` its intra-op threads,
    `device` is MLX's `cpu` or `gpu`; `tables` says whether large tables are `mapped` from their
    files, row by row, or `loaded`. A component names those that it reads in `placement_keys`.
    """

    providers: tuple[str, ...] | None = None
    threads: int | None = None
    device: str | None = None
    tables: str | None = None

    @property
    def given(self) -> dict[str, object]:
        """Return what is not left open."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def over(self, base: Placement) -> Placement:
        """Return this placement, with what it leaves open taken from another."""
        return replace(base, **self.given)  # type: ignore[arg-type]

    def only(self, names: Collection[str]) -> Placement:
        """Return this placement with everything but `names` left open."""
        return replace(self, **{name: None for name in self.given if name not in names})

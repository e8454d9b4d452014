"""Where a bundle runs on this machine: a matter of the user, never of the manifest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

HOST = "numpy"  # the backend in whose arrays values are given, marked and exchanged


@dataclass(frozen=True)
class PlacementKey:
    """A choice of the user about where components run, such as `device`.

    `type` is what its value is read as, strictly; `text` writes a value for `composer plan`.
    """

    name: str
    type: Any
    summary: str
    text: Callable[[Any], str] | None = None

    def __call__(self, value: Any) -> str:
        if self.text:
            return self.text(value)
        return f"{self.name} {value}"


TABLES = PlacementKey(
    "tables",
    Literal["mapped", "loaded"],
    "Whether rows of large tables are read from their files one by one, or loaded.",
)

CACHE = PlacementKey(
    "cache_gb",
    Annotated[float, Field(gt=0, le=100_000)],
    "Memory that a decoder's sequences may take together, in GB; others wait.",
    lambda size: f"sequences of at most {size:g} GB",
)


PREPARED = PlacementKey(
    "prepared_gb",
    Annotated[float, Field(ge=0, le=100_000)],
    "Disk that weights prepared from locked bundles may take together, in GB; 0 keeps none.",
    lambda size: f"prepared weights of at most {size:g} GB",
)


@dataclass(frozen=True, init=False)
class Placement:
    """How a component is placed; a key that is not given leaves the choice to its backend.

    Backends declare the keys that there are, and a component names those that it reads in
    `placement_keys`.
    """

    given: Mapping[str, Any]

    def __init__(self, **given: Any) -> None:
        values = {}
        for name, value in given.items():
            if value is not None:
                if isinstance(value, list):
                    values[name] = tuple(value)
                else:
                    values[name] = value
        object.__setattr__(self, "given", values)

    def get(self, key: str) -> Any:
        """Return what is given for a key, or None."""
        return self.given.get(key)

    def over(self, base: Placement) -> Placement:
        """Return this placement, with what it leaves open taken from another."""
        return Placement(**{**base.given, **self.given})

    def only(self, names: Collection[str]) -> Placement:
        """Return this placement with everything but `names` left open."""
        return Placement(**{name: value for name, value in self.given.items() if name in names})

"""A component whose network runs on any backend: a family, until it is bound to one."""

from __future__ import annotations

from types import new_class
from typing import Any, ClassVar, Self

from composer.core.backend import Backend
from composer.core.component import Component


class Family(Component, name="portable"):
    """A family of components, of which each backend has a kind."""

    runs_on: ClassVar[Backend]

    @classmethod
    def on(cls, backend: Backend) -> type[Self]:
        """Return the family's kind on a backend: `meralion` on MLX is `mlx.meralion`."""

        def fill(namespace: dict[str, Any]) -> None:
            namespace["__doc__"] = cls.__doc__
            namespace["__module__"] = cls.__module__
            namespace["runs_on"] = backend
            namespace["backend"] = backend.arrays
            namespace["placement_keys"] = frozenset(key.name for key in backend.placement)

        made: Any = new_class(cls.__name__, (cls,), {"name": f"{backend.name}.{cls.name}"}, fill)
        made.methods = cls.methods
        return made  # type: ignore[no-any-return]

    @classmethod
    def computed_in(cls, dtype: str) -> str:
        """Return the dtype that the backend computes in for weights of a dtype."""
        if dtype in cls.runs_on.dtypes:
            return dtype
        return "f32"

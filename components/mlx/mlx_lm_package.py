"""Import mlx-lm's models without the rest of its package."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

PACKAGE = "mlx_lm"


class LazyPackage(ModuleType):
    """A package that runs its own code when something is asked of it for the first time."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        assert spec is not None
        assert spec.loader is not None
        self.__class__ = ModuleType  # type: ignore[assignment]
        try:
            spec.loader.exec_module(self)
        except BaseException:
            self.__class__ = LazyPackage
            raise
        return getattr(self, name)


def model_module(name: str) -> Any:
    """Import `mlx_lm.models.NAME`.

    The package itself imports transformers for its tokenizers, and transformers imports torch
    where that is installed: 190 MB and seconds, all unused. Whoever imports mlx-lm besides finds
    all of it.
    """
    if PACKAGE not in sys.modules:
        spec = find_spec(PACKAGE)
        if spec is not None:
            package = module_from_spec(spec)
            package.__class__ = LazyPackage
            sys.modules[PACKAGE] = package
    return import_module(f"{PACKAGE}.models.{name}")

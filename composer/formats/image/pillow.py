"""Pillow, which decodes and scales pictures: an extra, imported only where it is needed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from composer.core.errors import ComposerError, Problem

INSTALL = "pip install 'bundle-composer[image]'"


def is_installed() -> bool:
    """Return whether there is a Pillow, without importing it."""
    return find_spec("PIL") is not None


def pillow(module: str = "Image") -> ModuleType:
    """Import a module of Pillow; raise ComposerError if it is not installed."""
    if not is_installed():
        raise ComposerError(
            Problem("R595", "pictures need Pillow, which is not here", hint=INSTALL)
        )
    return import_module(f"PIL.{module}")


def require_installed(kind: str) -> None:
    """Raise W231 for a kind of component that needs Pillow where it is not installed."""
    if not is_installed():
        message = f"{kind} needs Pillow, which is not installed"
        raise ComposerError(Problem("W231", message, hint=INSTALL))

"""Packages that only a corpus needs: extras, imported when they are used."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from composer.core.errors import ComposerError, Problem


def require_package(name: str, extra: str, what: str) -> Any:
    """Import a package and return it; raise R585 with the command that installs it."""
    if find_spec(name) is None:
        message = f"{what} needs {name}, which is not installed"
        hint = f"pip install 'bundle-composer[{extra}]'"
        raise ComposerError(Problem("R585", message, hint=hint))
    return import_module(name)

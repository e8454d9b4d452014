"""The terminal that progress is shown on: one for all, so that what shows knows of the others."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@cache
def stderr_console() -> Console:
    """Return rich's console of standard error."""
    from rich.console import Console

    return Console(stderr=True)

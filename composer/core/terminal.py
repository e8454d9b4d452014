"""What a terminal is shown: text that cannot steer it, and progress on one console for all."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

KEPT = "\n\t"


@cache
def stderr_console() -> Console:
    """Return rich's console of standard error."""
    from rich.console import Console

    return Console(stderr=True)


def escape_line(text: str) -> str:
    """Write control characters as escapes, line breaks too, so that no name can forge a line."""
    return escape_control_characters(text, kept="")


def escape_control_characters(text: str, kept: str = KEPT) -> str:
    """Write control characters as escapes, so that no text can steer a terminal."""
    if text.isprintable():
        return text
    found = []
    for c in text:
        if c.isprintable() or c in kept:
            found.append(c)
        else:
            found.append(c.encode("unicode_escape").decode())
    return "".join(found)

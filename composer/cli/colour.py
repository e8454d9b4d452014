"""Colour text for a terminal, and for nothing else."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TextIO


class Colour(StrEnum):
    """What a text is, by the codes that a terminal shows it with."""

    ERROR = "1;31"
    WARNING = "1;33"
    HINT = "36"
    HEAD = "1"
    QUIET = "2"


def has_colour(stream: TextIO) -> bool:
    """Return whether a stream shows colours: a terminal, unless NO_COLOR or TERM=dumb forbids."""
    forbidden = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not forbidden


def coloured(text: str, colour: Colour, stream: TextIO) -> str:
    """Return a text as it is shown on a stream."""
    return f"\x1b[{colour}m{text}\x1b[0m" if text and has_colour(stream) else text

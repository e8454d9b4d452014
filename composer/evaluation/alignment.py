"""How the words of a hypothesis stand against those of its reference."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Words of the reference and of the hypothesis that stand against each other."""

    kind: str
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]


Spans = tuple[Span, ...]

"""The alignment of a hypothesis' words with those of its reference."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AlignedWords:
    """Aligned words of the reference and of the hypothesis, and the kind of match."""

    kind: str
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]


Spans = tuple[AlignedWords, ...]

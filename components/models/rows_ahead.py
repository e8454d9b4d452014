"""Rows of a prompt that see each other both ways: those of one picture, and all of its audio.

The decoder of a larger Gemma 3 has them, whose ports these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from composer.core.call_signature import CallSignature
from composer.core.errors import ComposerError, Problem

from ..checkpoints.decoder_facts import without_ports

PORTS = ("pictures", "audio")
CONVERSION = "unscaled"  # of rows as the residual stream takes them, which encoders give
AudioAttention = Literal["bidirectional", "causal"]
AUDIO_ATTENTION = (
    "how rows that `audio` marks see each other in a decoder that has this input: bidirectional "
    "is all of them both ways, causal as words do. No config says how a checkpoint was trained"
)


def rows_ahead(count: int, pictures: Any = None, audio: Any = None) -> np.ndarray:
    """Return how far behind each of so many rows the last one of its block is, int32 [T].

    `pictures` and `audio` [T] mark rows. Marked rows of pictures that follow each other are one
    block; all marked rows of audio are one, also where others stand between them. Rows of a block
    end at the same one, by which they are known; a word is a block of its own.
    """
    places, ahead = np.arange(count, dtype=np.int32), np.zeros(count, np.int32)
    if pictures is not None:
        marks = np.asarray(pictures)
        ends = marks & ~np.append(marks[1:], False)
        last = np.minimum.accumulate(np.where(ends, places, count)[::-1])[::-1]
        ahead = np.where(marks, last - places, ahead).astype(np.int32)
    if audio is not None:
        audible = np.asarray(audio)
        if pictures is not None and bool((np.asarray(pictures) & audible).any()):
            message = "a row is marked as a picture's and as audio's"
            hint = "wire the marks of each kind's own slots, such as $asked.picture"
            raise ComposerError(Problem("R556", message, hint=hint))
        last = places[audible][-1:]
        ahead = np.where(audible, last - places if len(last) else 0, ahead).astype(np.int32)
    return ahead


def own_ports(
    methods: Mapping[str, CallSignature], bidirectional: bool, where: str
) -> tuple[dict[str, CallSignature], dict[str, str]]:
    """Return a decoder's ports, and why it has no marks of pictures and audio if it has none."""
    if bidirectional:
        return dict(methods), {}
    reason = f"{where}: rows of pictures and audio are read as words are"
    return without_ports(methods, (*PORTS, CONVERSION)), dict.fromkeys(PORTS, reason)

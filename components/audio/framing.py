"""What a clip needs for features: samples at the rate of the port, enough and not too many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from composer.core.call_signature import CallSignature
from composer.core.errors import ComposerError, Problem
from composer.core.ports import Port
from composer.core.sizes import MOST_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from composer.formats.audio.waveform import Audio


def call_at(rate: int, returns: Mapping[str, Port]) -> CallSignature:
    """Return the signature of a call that takes audio at a rate."""
    return CallSignature(inputs={"audio": (Port("audio", dims=(rate,)),)}, returns=returns)


def samples_at(audio: Audio, rate: int) -> np.ndarray:
    """Return a clip's samples [N]; refuse one that has none (R528)."""
    if audio.rate != rate:
        raise ValueError(f"the audio has {audio.rate} Hz, not the port's {rate}")
    if not len(audio.samples):
        raise ComposerError(Problem("R528", f"{audio.source} has no samples"))
    return audio.samples


def require_frame(source: str, rate: int, count: int, least: int, more: str = "") -> None:
    """Raise R520 unless `count` samples make a frame, which takes `least`."""
    if count < least:
        message = f"{source} has {count} samples at {rate} Hz, one frame {least}"
        raise ComposerError(Problem("R520", message, hint=f"give a longer clip{more}"))


def require_numbers(mels: int, frames: int) -> None:
    """Raise R521 where the features would be more numbers than any value may have."""
    if mels * frames > MOST_NUMBERS:
        message = f"the features would be {mels} x {frames} numbers; the limit is {MOST_NUMBERS}"
        raise ComposerError(Problem("R521", message, hint="take a longer hop, or split the audio"))

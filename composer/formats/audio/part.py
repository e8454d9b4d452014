"""What a container gives to its decoder: parts, and what is wrong beyond them."""

from __future__ import annotations

from dataclasses import dataclass

from composer.formats.audio.spliced import Spliced


@dataclass(frozen=True)
class Frames:
    """How many frames a header states, and by how many a decoder may give fewer or more.

    What is more, up to there, is padding of the last block, and is cut off.
    """

    stated: int
    fewer: int = 0
    more: int = 0


@dataclass(frozen=True)
class Part:
    """A stretch of a file that is decoded by itself.

    `frames` takes the rate of the decoded part; None where nothing states a length.
    """

    file: Spliced
    frames: Frames | None = None
    clock: int | None = None  # the rate that `frames` counts in, where it is not the decoded one


@dataclass(frozen=True)
class Fault:
    """Why a file is not whole: what is cut off (S483), damaged (S489) or of no read codec (S481).

    The parts before it can be decoded.
    """

    code: str
    message: str
    hint: str = "download it again"


Layout = tuple[list[Part], Fault | None]


def cut(kind: str, how: str) -> Fault:
    """Return the fault of a file that ends too early, or not where it says."""
    return Fault("S483", f"the {kind} file is truncated: {how}")


def damaged(kind: str, how: str) -> Fault:
    """Return the fault of a file whose bytes are wrong."""
    hint = "download it again, or convert it anew"
    return Fault("S489", f"the {kind} file is damaged: {how}", hint)


def unread(kind: str, codec: str) -> Fault:
    """Return the fault of a file that is whole, and of a codec that is not read."""
    hint = "convert it: ffmpeg -i INPUT -ar 16000 a.wav"
    return Fault("S481", f"the {kind} file holds {codec}, which is not read", hint)

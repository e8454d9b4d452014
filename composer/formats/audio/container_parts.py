"""The parts of a container that are decoded, and its fault."""

from __future__ import annotations

from dataclasses import dataclass

from composer.formats.audio.spliced import Spliced


@dataclass(frozen=True)
class Frames:
    """The declared frames, and how many fewer or more a decoder may return.

    What is more, up to there, is padding of the last block, and is cut off.
    """

    stated: int
    fewer: int = 0
    more: int = 0


@dataclass(frozen=True)
class Part:
    """A part of a file that is decoded by itself.

    `frames` takes the rate of the decoded part; None where nothing states a length.
    """

    file: Spliced
    frames: Frames | None = None
    clock: int | None = None  # the rate that `frames` counts in, where it is not the decoded one


@dataclass(frozen=True)
class Fault:
    """Why a file is not complete: truncated (S483), damaged (S489) or unsupported (S481).

    The parts before it can be decoded.
    """

    code: str
    message: str
    hint: str = "download it again"


Layout = tuple[list[Part], Fault | None]


def truncated(kind: str, how: str) -> Fault:
    """Return the fault of a file whose end is not the declared one."""
    return Fault("S483", f"the {kind} file is truncated: {how}")


def damaged(kind: str, how: str) -> Fault:
    """Return the fault of a file whose bytes are wrong."""
    hint = "download it again, or convert it again"
    return Fault("S489", f"the {kind} file is damaged: {how}", hint)


def unsupported(kind: str, codec: str) -> Fault:
    """Return the fault of a file with an unsupported codec."""
    hint = "convert it: ffmpeg -i INPUT -ar 16000 a.wav"
    return Fault("S481", f"the {kind} file holds {codec}, which is not read", hint)

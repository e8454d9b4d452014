"""The parts of a container that are decoded, and its fault."""

from __future__ import annotations

from dataclasses import dataclass

from composer.formats.audio.spliced import SplicedFile


@dataclass(frozen=True)
class FrameCount:
    """The declared frames, and how many fewer or more a decoder may return.

    What is more, up to there, is padding of the last block, and is cut off. Of what is a claim of
    the container, yet more is sound that it does not count.
    """

    stated: int
    fewer: int = 0
    more: int = 0
    is_claim: bool = False


@dataclass(frozen=True)
class Part:
    """A part of a file that is decoded by itself.

    `frames` takes the rate of the decoded part; None where nothing states a length. `by_av` is the
    container of a part that PyAV decodes.
    """

    file: SplicedFile
    frames: FrameCount | None = None
    clock: int | None = None  # the rate that `frames` counts in, where it is not the decoded one
    by_av: str | None = None


@dataclass(frozen=True)
class AudioFault:
    """Why a file is not complete: truncated (S483), damaged (S489) or unsupported (S481).

    The parts before it can be decoded.
    """

    code: str
    message: str
    hint: str = "download it again"


PartsAndFault = tuple[list[Part], AudioFault | None]


def truncated_fault(kind: str, how: str) -> AudioFault:
    """Return the fault of a file whose end is not the declared one."""
    return AudioFault("S483", f"the {kind} file is truncated: {how}")


def damaged_fault(kind: str, how: str) -> AudioFault:
    """Return the fault of a file whose bytes are wrong."""
    hint = "download it again, or convert it again"
    return AudioFault("S489", f"the {kind} file is damaged: {how}", hint)


def unsupported_fault(kind: str, codec: str) -> AudioFault:
    """Return the fault of a file with an unsupported codec."""
    hint = "convert it: ffmpeg -i INPUT -ar 16000 a.wav"
    return AudioFault("S481", f"the {kind} file holds {codec}, which is not read", hint)

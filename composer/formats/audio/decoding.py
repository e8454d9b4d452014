"""Decode the parts of a file completely, and compare their lengths with the declared ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any

import numpy as np

from composer.formats.audio import pyav
from composer.formats.audio.audio_problems import audio_error, check_format, check_length
from composer.formats.audio.channels import Channel, ChannelCollector
from composer.formats.audio.container_parts import (
    AudioFault,
    FrameCount,
    Part,
    damaged_fault,
    truncated_fault,
)

_BLOCK = 2**18
_SMALL = 2**12  # what a fault costs at most of what stands before it


def decode(
    kind: str,
    parts: Sequence[Part],
    name: str,
    channel: Channel,
    careful: bool,
    most: float | None = None,
    keep: float = inf,
) -> tuple[ChannelCollector, AudioFault | None]:
    """Return the decoded parts, and the fault of the last one.

    What has more than `most` seconds is refused, of more than `keep` no samples are kept.
    """
    mixer: ChannelCollector | None = None
    expected = 0.0
    for number, part in enumerate(parts):
        before = mixer.frames if mixer else 0
        try:
            with _open(part) as sound:
                rate, channels = sound.samplerate, sound.channels
                check_format(rate, channels, name)
                frames = sound.claim if part.by_av else _at_rate(part, rate)
                if frames:
                    expected += frames.stated
                    check_length(int(expected), rate, name, most)
                if mixer is None:
                    mixer = ChannelCollector(rate, channels, name, channel, most, keep)
                elif (mixer.rate, mixer.channels) != (rate, channels):
                    raise _format_change_error(kind, name, number, mixer, rate, channels)
                for block in _blocks(sound, careful):
                    mixer.add(block)
        except (_library_error(), pyav.CannotDecode) as error:
            if mixer is None:
                mixer = ChannelCollector(16_000, 1, name, channel)
            mixer.by_part.append(mixer.frames - before)
            return mixer, _fault(kind, error)
        fault = _compare(kind, mixer, mixer.frames - before, frames) if frames else None
        mixer.by_part.append(mixer.frames - before)
        if fault:
            return mixer, fault
    if mixer is None:
        raise audio_error("S482", name, "there are no samples in it")
    return mixer, None


def decode_again(
    parts: Sequence[Part], by_part: Sequence[int], careful: bool, name: str
) -> Iterator[np.ndarray]:
    """Yield blocks [frames, channels] of parts that were decoded before, so many frames of each.

    Raise S480 where they are not there any more.
    """
    for part, frames in zip(parts, by_part, strict=False):  # none after a fault
        remaining = frames
        try:
            with _open(part) as sound:
                blocks = _blocks(sound, careful)
                while remaining and (block := next(blocks, None)) is not None:
                    yield block[:remaining]
                    remaining -= min(remaining, len(block))
        except (_library_error(), pyav.CannotDecode):
            pass
        if remaining:
            raise audio_error("S480", name, "the audio file changed while it was read")


def _open(part: Part) -> Any:
    if part.by_av:
        return pyav.Sound(part, part.by_av)
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            """Return False: soundfile would seek, which fails in a FLAC of unknown length."""
            return False

    return Forward(part.file, "r")


def _library_error() -> type[Exception]:
    import soundfile

    kind: type[Exception] = soundfile.LibsndfileError
    return kind


def _fault(kind: str, error: Exception) -> AudioFault:
    if isinstance(error, pyav.CannotDecode):
        return error.fault(kind)
    return damaged_fault(kind, str(error).rpartition(": ")[2].strip(" .") or "no decoder")


def _blocks(sound: Any, careful: bool) -> Iterator[np.ndarray]:
    size = _SMALL if careful else _BLOCK
    if isinstance(sound, pyav.Sound):
        yield from sound.blocks(size)
        return
    while len(block := sound.read(size, dtype="float32", always_2d=True)):
        yield block


def _at_rate(part: Part, rate: int) -> FrameCount | None:
    """Return the declared frames at the decoder's sample rate."""
    if part.frames is None or part.clock is None:
        return part.frames
    stated, fewer, more = part.frames.stated, part.frames.fewer, part.frames.more
    clock = part.clock
    return FrameCount(-(-stated * rate // clock), fewer * rate // clock + 1, more * rate // clock)


def _compare(
    kind: str, mixer: ChannelCollector, decoded: int, frames: FrameCount
) -> AudioFault | None:
    """Drop padding at the end; return the fault if frames are missing or surplus."""
    if frames.stated < decoded <= frames.stated + frames.more:
        mixer.drop_last(decoded - frames.stated)
    elif (
        decoded > frames.stated and not frames.is_claim
    ) or decoded < frames.stated - frames.fewer:
        how = f"its header declares {frames.stated} frames, but the file has {decoded}"
        return truncated_fault(kind, how)
    return None


def _format_change_error(
    kind: str, name: str, number: int, mixer: ChannelCollector, rate: int, channels: int
) -> Exception:
    found = (
        f"the {kind} file is joined of several: part {number + 1} has {channels} channels at "
        f"{rate} Hz, and those before it {mixer.channels} at {mixer.rate} Hz"
    )
    return audio_error("S489", name, found, "convert it: ffmpeg -i INPUT -ac 1 -ar 16000 a.wav")

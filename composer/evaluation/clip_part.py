"""The part of a clip that data states, by its offset and its duration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from composer.core.errors import ComposerError, Place, Problem
from composer.formats.audio.channels import Channel
from composer.formats.audio.clip import Clip
from composer.formats.audio.waveform import Audio, Channels

SLACK = 0.1  # seconds by which a stated length may miss the file's: what rounding leaves


@dataclass(frozen=True)
class ClipPart:
    """A part of a clip, in seconds as stated; a whole clip has no offset and may have a length."""

    offset: float | None = None
    duration: float | None = None

    @property
    def is_stated(self) -> bool:
        """Return whether anything is stated, so that the clip has to be as long."""
        return (self.offset, self.duration) != (None, None)

    def read(self, clip: Clip, channel: Channel, id: str) -> Audio | Channels:
        """Read the part, which is called `id`; raise R573 if the clip is not as long as stated."""
        found = clip.read(channel)
        if isinstance(found, Channels):
            return Channels(tuple(self._cut(each, clip, id) for each in found.each))
        return self._cut(found, clip, id)

    def _cut(self, audio: Audio, clip: Clip, id: str) -> Audio:
        begin = self.offset or 0.0
        seconds = self.duration
        if seconds is None:
            seconds = audio.seconds - begin
        end = begin + seconds
        if seconds <= 0 or end > audio.seconds + SLACK:
            raise _length_error(audio, clip, f"the clip is stated at {begin:g} to {end:g} s")
        if round(seconds * audio.rate) == 0:
            stated = f"{seconds:g} s are stated, which is less than a sample"
            raise _length_error(audio, clip, stated)
        if self.offset is None:
            if abs(seconds - audio.seconds) > SLACK:
                raise _length_error(audio, clip, f"{seconds:g} s are stated")
            return audio
        first = round(begin * audio.rate)
        samples = audio.samples[first : first + round(seconds * audio.rate)]
        return replace(audio, samples=samples, source=id)


def _length_error(audio: Audio, clip: Clip, stated: str) -> ComposerError:
    """Return the error for a length that differs from the stated one."""
    message = f"the file has {audio.seconds:.2f} s, and {stated}"
    hint = "correct the duration, or use the right file"
    is_named = isinstance(clip.source, str | Path)
    place = Place(str(clip.source) if is_named else audio.source)
    return ComposerError(Problem("R573", message, place, hint=hint))

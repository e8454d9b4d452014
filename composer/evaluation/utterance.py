"""One clip of a data set and its reference transcript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from composer.core.errors import ComposerError, Place, Problem
from composer.formats.audio.channels import Channel
from composer.formats.audio.clip import Clip
from composer.formats.audio.waveform import Audio, Channels

SLACK = 0.1  # seconds by which a stated length may miss the file's: what rounding leaves


@dataclass(frozen=True)
class Utterance:
    """A clip and its reference transcript.

    `id` is the clip's path in the data, with `#offset` or `#offset+duration` if it is a part of a
    file; a `#` or `%` of the path is written `%23` or `%25`, so that no two clips have one id.
    `offset` and `duration` are in seconds, as stated; `fields` are the line's other texts and
    numbers, and `line` is its line number, if any.
    """

    id: str
    path: Path
    reference: str
    offset: float | None = None
    duration: float | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    line: int | None = None

    def audio(self, channel: Channel = "mix", partial: bool = False) -> Audio | Channels:
        """Read the clip, or what is there of it; raise R573 if that is not as long as stated."""
        found = Clip(self.path, channel, partial).read(channel)
        if isinstance(found, Channels):
            return Channels(tuple(map(self._part, found.each)))
        return self._part(found)

    def _part(self, audio: Audio) -> Audio:
        begin = self.offset or 0.0
        seconds = self.duration
        if seconds is None:
            seconds = audio.seconds - begin
        end = begin + seconds
        if seconds <= 0 or end > audio.seconds + SLACK:
            raise self._length_error(audio, f"the clip is stated at {begin:g} to {end:g} s")
        if round(seconds * audio.rate) == 0:
            raise self._length_error(
                audio, f"{seconds:g} s are stated, which is less than a sample"
            )
        if self.offset is None:
            if abs(seconds - audio.seconds) > SLACK:
                raise self._length_error(audio, f"{seconds:g} s are stated")
            return audio
        first = round(begin * audio.rate)
        samples = audio.samples[first : first + round(seconds * audio.rate)]
        return replace(audio, samples=samples, source=self.id)

    def is_changed(self, seconds: float | None) -> bool:
        """Return whether an earlier result of so many seconds is of another length than stated."""
        if self.offset is not None or self.duration is None or seconds is None:
            return False  # a part has its length in its id
        return abs(self.duration - seconds) > SLACK

    def _length_error(self, audio: Audio, stated: str) -> ComposerError:
        """Return the error for a length that differs from the stated one."""
        message = f"the file has {audio.seconds:.2f} s, and {stated}"
        hint = "correct the duration, or use the right file"
        return ComposerError(Problem("R573", message, Place(str(self.path)), hint=hint))

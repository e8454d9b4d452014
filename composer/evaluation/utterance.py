"""One clip of a data set and its reference transcript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from composer.evaluation.clip_part import SLACK, ClipPart
from composer.formats.audio.channels import Channel
from composer.formats.audio.clip import Clip
from composer.formats.audio.waveform import Audio, Channels


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
        part = ClipPart(self.offset, self.duration)
        return part.read(Clip(self.path, channel, partial), channel, self.id)

    def is_changed(self, seconds: float | None) -> bool:
        """Return whether an earlier result of so many seconds is of another length than stated."""
        if self.offset is not None or self.duration is None or seconds is None:
            return False  # a part has its length in its id
        return abs(self.duration - seconds) > SLACK

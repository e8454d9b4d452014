"""The audio input of a run: what to read, and how."""

from __future__ import annotations

from dataclasses import dataclass

from composer.formats.audio.channels import Channel
from composer.formats.audio.reading import Source, read_audio, read_channels, read_long
from composer.formats.audio.recording import Recording, Recordings
from composer.formats.audio.waveform import Audio, Channels


@dataclass(frozen=True)
class Clip:
    """A source of audio, the channel to read, whether it may be truncated, and how long it may be.

    `channel` is None for what the bundle's input says: the mix, or another.
    """

    source: Source
    channel: Channel | None = None
    partial: bool = False
    max_seconds: float | None = None

    def read(self, channel: Channel) -> Audio | Channels:
        """Return the waveform, or one per channel; `channel` is the input's setting."""
        chosen = self.channel or channel
        if chosen == "each":
            return read_channels(self.source, partial=self.partial, max_seconds=self.max_seconds)
        return read_audio(
            self.source, channel=chosen, partial=self.partial, max_seconds=self.max_seconds
        )

    def open(self, channel: Channel, keep: float) -> Audio | Channels | Recording | Recordings:
        """Return what `read` returns, or recordings of a file of more than `keep` seconds."""
        chosen = self.channel or channel
        each = read_long(
            self.source,
            channel=chosen,
            partial=self.partial,
            max_seconds=self.max_seconds,
            keep=keep,
        )
        long = tuple(one for one in each if isinstance(one, Recording))
        short = tuple(one for one in each if isinstance(one, Audio))
        if chosen == "each":
            return Recordings(long) if long else Channels(short)
        return each[0]

    def __str__(self) -> str:
        return str(self.source)

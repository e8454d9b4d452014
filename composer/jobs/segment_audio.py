"""Read the audio of a transcription's segments, one at a time."""

from __future__ import annotations

from dataclasses import replace

from composer.formats.audio.clip import Clip
from composer.formats.audio.recording import Recording, Recordings
from composer.formats.audio.sample_reader import SampleReader
from composer.formats.audio.waveform import Audio, Channels, as_read_only
from composer.jobs.transcription import SpokenSegment

KEPT = 60.0  # seconds of a clip that is kept in memory whole


class SegmentAudio:
    """The audio of a clip, of which each segment is read once: those of a channel in their order.

    A long clip is decoded as it is read, so that never more than a segment is in memory.
    """

    def __init__(self, clip: Clip | Audio | Channels) -> None:
        opened = clip.open("mix", KEPT) if isinstance(clip, Clip) else clip
        channels = opened.each if isinstance(opened, Channels | Recordings) else (opened,)
        self._channels = [_ChannelReader(each) for each in channels]

    def of(self, segment: SpokenSegment) -> Audio:
        """Return the samples of a segment at the clip's own rate."""
        channel = segment.channel if len(self._channels) > 1 else 0
        return self._channels[channel].between(segment.start, segment.end)


class _ChannelReader:
    def __init__(self, channel: Audio | Recording) -> None:
        self._channel = channel
        self._at = 0
        self._reader = None
        if isinstance(channel, Recording):
            self._reader = SampleReader(channel.blocks(channel.rate))

    def between(self, start: float, end: float) -> Audio:
        channel = self._channel
        first, last = round(start * channel.rate), round(end * channel.rate)
        if isinstance(channel, Audio):
            return replace(channel, samples=channel.samples[first:last])
        assert self._reader is not None
        last = min(last, channel.frames)
        self._reader.skip(first - self._at)
        samples = as_read_only(self._reader.take(last - first))
        self._at = last
        return Audio(samples, channel.rate, channel.source)

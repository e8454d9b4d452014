"""Audio: a mono waveform, read strictly from a file, bytes or samples."""

from composer.formats.audio.channels import Channel
from composer.formats.audio.clip import Clip
from composer.formats.audio.reading import Source, read_audio, read_channels
from composer.formats.audio.waveform import Audio, Channels

__all__ = ["Audio", "Channel", "Channels", "Clip", "Source", "read_audio", "read_channels"]

"""Reduce several channels to one: their mean, or one of them."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Literal, get_args

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.formats.audio.audio_problems import audio_error, check_length
from composer.formats.audio.waveform import Audio, as_read_only

Channel = Literal["mix", "left", "right", "each"]
CHOICES = get_args(Channel)

_SURVIVES = 0.2  # of the louder channel's level, over the number of channels: -20 dB of two
_WIDTH = 4  # bytes of a sample
_LOUD = 0.1  # of the loudest second's level: quieter sound may cancel: it is not speech


class ChannelCollector:
    """Collects the blocks of a file into one waveform, or one per channel.

    A mix is refused where less than `_SURVIVES` of the louder channel is left of a second that is
    loud: channels that are opposite up to the noise of a codec, or to their gain. More than `most`
    seconds are refused. Of more than `keep` seconds no samples are kept: they are only checked.
    """

    def __init__(
        self,
        rate: int,
        channels: int,
        name: str,
        channel: Channel,
        most: float | None = None,
        keep: float = inf,
    ) -> None:
        self.rate, self.channels, self.name, self.channel = rate, channels, name, channel
        self.most, self.keep = most, keep
        self.frames = 0
        self.by_part: list[int] = []  # how many frames of each part of the file are taken
        # Bytes grow in place, where joined blocks are in memory twice.
        self._samples = [bytearray() for _ in range(channels if channel == "each" else 1)]
        self._levels: list[np.ndarray] = []  # of each second: the louder channel's, the mix's
        self._unmeasured = np.zeros((0, channels), np.float32)
        if channel in ("left", "right") and channels > 2:
            found = f"there are {channels} channels, and none is the {channel} one"
            raise audio_error("S486", name, found, "choose 'mix' or 'each', or give two channels")

    def add(self, block: np.ndarray) -> None:
        """Add the next frames, [frames, channels]."""
        selected = select(block, self.channel)
        if not np.isfinite(selected).all():
            good = np.isfinite(selected).all(axis=1)
            at = self.frames + int(np.argmin(good))
            found = f"sample {at} ({at / self.rate:.3f} s) is not a finite number"
            hint = "the file is corrupt, or was written so: render it again"
            raise audio_error("S484", self.name, found, hint)
        self.frames += len(block)
        check_length(self.frames * selected.shape[1], self.rate, self.name, self.most)
        if self.channel == "mix" and self.channels > 1:
            self._measure(block)
        if self.frames > self.keep * self.rate:
            self._samples = []
        if not self._samples:
            return
        for collected, samples in zip(self._samples, selected.T, strict=True):
            collected += samples.tobytes()

    @property
    def keeps_samples(self) -> bool:
        """Return whether the samples so far are in memory."""
        return bool(self._samples)

    def drop_last(self, frames: int) -> None:
        """Drop the last frames."""
        self.frames = max(0, self.frames - frames)
        for collected in self._samples:
            del collected[self.frames * _WIDTH :]

    def finish(self, notes: tuple[str, ...] = ()) -> tuple[Audio, ...]:
        """Return the waveform, or one per channel."""
        notes = self.check(notes)
        each = [as_read_only(np.frombuffer(found, np.float32)) for found in self._samples]
        waveforms = []
        for name, samples in zip(self.names, each, strict=True):
            waveforms.append(Audio(samples, self.rate, name, notes))
        return tuple(waveforms)

    def check(self, notes: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Refuse what is empty or cancels; return the notes, and which channel was taken."""
        if not self.frames:
            raise audio_error("S482", self.name, "there are no samples in it")
        self._check_cancelled()
        if self.channels > 1 and self.channel in ("left", "right"):
            return (*notes, f"the {self.channel} channel of {self.channels}")
        return notes

    @property
    def names(self) -> list[str]:
        """Return the name of each waveform."""
        if self.channel != "each" or self.channels == 1:
            return [self.name]
        labels = [f"channel {number + 1}" for number in range(self.channels)]
        if self.channels == 2:
            labels = ["left", "right"]
        return [f"{self.name} ({label})" for label in labels]

    def _measure(self, block: np.ndarray, last: bool = False) -> None:
        """Measure each complete second, and what remains at the end."""
        data = np.concatenate([self._unmeasured, block])
        complete = len(data) // self.rate
        size = self.rate
        if last and not complete and len(data):
            complete, size = 1, len(data)
        seconds = data[: complete * size].reshape(complete, size, self.channels)
        self._unmeasured = data[complete * size :]
        if complete:
            precise = seconds.astype(np.float64)
            loudest = precise.std(axis=1).max(axis=1)  # without its offset, which is no sound
            mixed = precise.mean(axis=2).std(axis=1)
            self._levels.append(np.stack([loudest, mixed], axis=1))

    def _check_cancelled(self) -> None:
        if self.channel != "mix" or self.channels == 1:
            return
        self._measure(self._unmeasured[:0], last=True)
        levels = np.concatenate(self._levels)
        louder, mixed = levels[:, 0], levels[:, 1]
        loud = louder > max(_LOUD * louder.max(), 1e-12)
        cancelled = loud & (mixed < _SURVIVES / self.channels * louder)
        if cancelled.any():
            at = int(np.argmax(cancelled))
            remaining = mixed[at] / louder[at]
            found = (
                f"the {self.channels} channels cancel in {cancelled.sum()} of {loud.sum()} loud "
                f"seconds: at {at} s their mix keeps {remaining:.2g} of the louder one"
            )
            hint = "one is inverted: take --channel left, right or each (channel= in Python)"
            raise audio_error("S488", self.name, found, hint)


def select(block: np.ndarray, channel: Channel) -> np.ndarray:
    """Return the frames [frames, 1] of a channel or of the mean of all, or with "each" all."""
    if channel == "each":
        return block
    if block.shape[1] == 1 or channel == "left":
        return block[:, :1]
    if channel == "right":
        return block[:, 1:2]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(block.mean(axis=1, keepdims=True))


def check_channel_choice(channel: str) -> None:
    """Refuse an unknown choice of channel."""
    if channel not in CHOICES:
        hint = f"choose {', '.join(CHOICES)}"
        raise ComposerError(Problem("R542", f"channel is '{channel}'", hint=hint))


def mix_channels(
    table: np.ndarray,
    blocks: Iterable[np.ndarray],
    rate: int,
    name: str,
    channel: Channel,
    most: float | None = None,
) -> tuple[Audio, ...]:
    """Mix samples given as an array, block by block."""
    mixer = ChannelCollector(rate, table.shape[1], name, channel, most)
    for block in blocks:
        mixer.add(block)
    return mixer.finish()

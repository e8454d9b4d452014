"""Reduce several channels to one: their mean, or one of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.formats.audio.audio_problems import check_length, refused
from composer.formats.audio.waveform import Audio, read_only

Channel = Literal["mix", "left", "right", "each"]
CHOICES = get_args(Channel)

_SURVIVES = 0.2  # of the louder channel's level, over the number of channels: -20 dB of two
_WIDTH = 4  # bytes of a sample
_LOUD = 0.1  # of the loudest second's level: quieter sound may cancel: it is not speech


class ChannelCollector:
    """Collects the blocks of a file into one waveform, or one per channel.

    A mix is refused where less than `_SURVIVES` of the louder channel is left of a second that is
    loud: channels that are opposite up to the noise of a codec, or to their gain. More than `most`
    seconds are refused.
    """

    def __init__(
        self, rate: int, channels: int, name: str, channel: Channel, most: float | None = None
    ) -> None:
        self.rate, self.channels, self.name, self.channel = rate, channels, name, channel
        self.most = most
        self.frames = 0
        # Bytes grow in place, where joined blocks are in memory twice.
        self._samples = [bytearray() for _ in range(channels if channel == "each" else 1)]
        self._levels: list[np.ndarray] = []  # of each second: the louder channel's, the mix's
        self._unmeasured = np.zeros((0, channels), np.float32)
        if channel in ("left", "right") and channels > 2:
            found = f"there are {channels} channels, and none is the {channel} one"
            raise refused("S486", name, found, "choose 'mix' or 'each', or give two channels")

    def add(self, block: np.ndarray) -> None:
        """Add the next frames, [frames, channels]."""
        selected = self._select(block)
        if not np.isfinite(selected).all():
            good = np.isfinite(selected).all(axis=1)
            at = self.frames + int(np.argmin(good))
            found = f"sample {at} ({at / self.rate:.3f} s) is not a finite number"
            hint = "the file is corrupt, or was written so: render it again"
            raise refused("S484", self.name, found, hint)
        self.frames += len(block)
        check_length(self.frames * selected.shape[1], self.rate, self.name, self.most)
        if self.channel == "mix" and self.channels > 1:
            self._measure(block)
        for collected, samples in zip(self._samples, selected.T, strict=True):
            collected += samples.tobytes()

    def drop_last(self, frames: int) -> None:
        """Drop the last frames."""
        self.frames = max(0, self.frames - frames)
        for collected in self._samples:
            del collected[self.frames * _WIDTH :]

    def finish(self, notes: tuple[str, ...] = ()) -> tuple[Audio, ...]:
        """Return the waveform, or one per channel."""
        if not self.frames:
            raise refused("S482", self.name, "there are no samples in it")
        self._check_cancelled()
        if self.channels > 1 and self.channel in ("left", "right"):
            notes = (*notes, f"the {self.channel} channel of {self.channels}")
        each = [read_only(np.frombuffer(found, np.float32)) for found in self._samples]
        if len(each) == 1:
            return (Audio(each[0], self.rate, self.name, notes),)
        names = (
            ["left", "right"] if len(each) == 2 else [f"channel {n + 1}" for n in range(len(each))]
        )
        return tuple(
            Audio(samples, self.rate, f"{self.name} ({label})", notes)
            for label, samples in zip(names, each, strict=True)
        )

    def _select(self, block: np.ndarray) -> np.ndarray:
        """Return [frames, 1], or all channels."""
        if self.channel == "each":
            return block
        if self.channels == 1 or self.channel == "left":
            return block[:, :1]
        if self.channel == "right":
            return block[:, 1:2]
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(block.mean(axis=1, keepdims=True))

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
            loudest = np.sqrt((precise**2).mean(axis=1)).max(axis=1)
            mixed = np.sqrt((precise.mean(axis=2) ** 2).mean(axis=1))
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
            raise refused("S488", self.name, found, hint)


def check_channel_choice(channel: str) -> None:
    """Refuse an unknown choice of channel."""
    if channel not in CHOICES:
        hint = f"choose {', '.join(CHOICES)}"
        raise ComposerError(Problem("R542", f"channel is '{channel}'", hint=hint))


def mixed_samples(
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

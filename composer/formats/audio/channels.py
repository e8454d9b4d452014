"""Reduce several channels to one: their mean, or one of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.formats.audio.refusal import check_length, refused
from composer.formats.audio.waveform import Audio, read_only

Channel = Literal["mix", "left", "right", "each"]
CHOICES = get_args(Channel)

_SURVIVES = 0.2  # of the louder channel's level, over the number of channels: -20 dB of two
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
        self._parts: list[np.ndarray] = []
        self._levels: list[np.ndarray] = []  # of each second: the louder channel's, the mix's
        self._unmeasured = np.zeros((0, channels), np.float32)
        if channel in ("left", "right") and channels > 2:
            found = f"there are {channels} channels, and none is the {channel} one"
            raise refused("S486", name, found, "choose 'mix' or 'each', or give two channels")

    def add(self, block: np.ndarray) -> None:
        """Add the next frames, [frames, channels]."""
        selected = self._select(block)
        if not np.isfinite(selected).all():
            good = np.isfinite(selected.reshape(len(block), -1)).all(axis=1)
            at = self.frames + int(np.argmin(good))
            found = f"sample {at} ({at / self.rate:.3f} s) is not a finite number"
            hint = "the file is corrupt, or was written so: render it again"
            raise refused("S484", self.name, found, hint)
        self.frames += len(block)
        frames = self.frames * (selected.size // len(block))
        check_length(frames, self.rate, self.name, self.most)
        if self.channel == "mix" and self.channels > 1:
            self._measure(block)
        self._parts.append(selected)

    def drop_last(self, frames: int) -> None:
        """Drop the last frames."""
        while frames and self._parts:
            last = self._parts.pop()
            if len(last) > frames:
                self._parts.append(last[:-frames])
            self.frames -= min(frames, len(last))
            frames -= min(frames, len(last))

    def finish(self, notes: tuple[str, ...] = ()) -> tuple[Audio, ...]:
        """Return the waveform, or one per channel."""
        if not self.frames:
            raise refused("S482", self.name, "there are no samples in it")
        self._check_cancelled()
        if self.channels > 1 and self.channel in ("left", "right"):
            notes = (*notes, f"the {self.channel} channel of {self.channels}")
        each = self.channels if self.channel == "each" else 1
        made = np.empty((each, self.frames), np.float32)
        at = 0
        self._parts.reverse()
        while self._parts:  # each is let go once it is copied, so that memory is what is kept
            part = self._parts.pop()
            made[:, at : at + len(part)] = part.T
            at += len(part)
        if each == 1:
            return (Audio(read_only(made[0]), self.rate, self.name, notes),)
        names = ("left", "right") if each == 2 else tuple(f"channel {n + 1}" for n in range(each))
        found = []
        for number, label in enumerate(names):
            found.append(Audio(read_only(made[number]), self.rate, f"{self.name} ({label})", notes))
        return tuple(found)

    def _select(self, block: np.ndarray) -> np.ndarray:
        if self.channel == "each":
            return block.copy()
        if self.channels == 1 or self.channel == "left":
            return block[:, 0].copy()
        if self.channel == "right":
            return block[:, 1].copy()
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(block.mean(axis=1))

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

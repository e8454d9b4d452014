"""Make one channel of several: their mean, or one of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.formats.audio.refusal import check_length, refused
from composer.formats.audio.waveform import Audio, frozen

Channel = Literal["mix", "left", "right", "each"]
CHOICES = get_args(Channel)

_SURVIVES = 0.2  # of the louder channel's level, over the number of channels: -20 dB of two
_LOUD = 0.1  # of the loudest second's level: what is quieter may cancel, it is no speech


class Mixer:
    """Collects the blocks of a file as one waveform, or as one for each channel.

    A mix is refused where less than `_SURVIVES` of the louder channel is left of a second that is
    loud: channels that are opposite up to the noise of a codec, or to their gain.
    """

    def __init__(self, rate: int, channels: int, name: str, channel: Channel) -> None:
        self.rate, self.channels, self.name, self.channel = rate, channels, name, channel
        self.frames = 0
        self._parts: list[np.ndarray] = []
        self._levels: list[np.ndarray] = []  # of each second: the louder channel's, the mix's
        self._rest = np.zeros((0, channels), np.float32)
        if channel in ("left", "right") and channels > 2:
            found = f"there are {channels} channels, and none is the {channel} one"
            raise refused("S486", name, found, "choose 'mix' or 'each', or give two channels")

    def add(self, block: np.ndarray) -> None:
        """Take the next frames, [frames, channels]."""
        picked = self._picked(block)
        if not np.isfinite(picked).all():
            good = np.isfinite(picked.reshape(len(block), -1)).all(axis=1)
            at = self.frames + int(np.argmin(good))
            found = f"sample {at} ({at / self.rate:.3f} s) is not a finite number"
            hint = "the file is corrupt, or was made so: render it again"
            raise refused("S484", self.name, found, hint)
        self.frames += len(block)
        check_length(self.frames * (picked.size // len(block)), self.rate, self.name)
        if self.channel == "mix" and self.channels > 1:
            self._watch(block)
        self._parts.append(picked)

    def cut(self, frames: int) -> None:
        """Take off the last frames."""
        while frames and self._parts:
            last = self._parts.pop()
            if len(last) > frames:
                self._parts.append(last[:-frames])
            self.frames -= min(frames, len(last))
            frames -= min(frames, len(last))

    def done(self, notes: tuple[str, ...] = ()) -> tuple[Audio, ...]:
        """Return the waveform, or that of each channel."""
        if not self.frames:
            raise refused("S482", self.name, "there are no samples in it")
        self._refuse_cancelled()
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
            return (Audio(frozen(made[0]), self.rate, self.name, notes),)
        names = ("left", "right") if each == 2 else tuple(f"channel {n + 1}" for n in range(each))
        return tuple(
            Audio(frozen(made[number]), self.rate, f"{self.name} ({label})", notes)
            for number, label in enumerate(names)
        )

    def _picked(self, block: np.ndarray) -> np.ndarray:
        if self.channel == "each":
            return block.copy()
        if self.channels == 1 or self.channel == "left":
            return block[:, 0].copy()
        if self.channel == "right":
            return block[:, 1].copy()
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(block.mean(axis=1))

    def _watch(self, block: np.ndarray, last: bool = False) -> None:
        """Measure each whole second; of the last one, whatever there is."""
        data = np.concatenate([self._rest, block])
        whole = len(data) // self.rate
        size = self.rate
        if last and not whole and len(data):
            whole, size = 1, len(data)
        seconds = data[: whole * size].reshape(whole, size, self.channels)
        self._rest = data[whole * size :]
        if whole:
            wide = seconds.astype(np.float64)
            loudest = np.sqrt((wide**2).mean(axis=1)).max(axis=1)
            mixed = np.sqrt((wide.mean(axis=2) ** 2).mean(axis=1))
            self._levels.append(np.stack([loudest, mixed], axis=1))

    def _refuse_cancelled(self) -> None:
        if self.channel != "mix" or self.channels == 1:
            return
        self._watch(self._rest[:0], last=True)
        levels = np.concatenate(self._levels)
        louder, mixed = levels[:, 0], levels[:, 1]
        loud = louder > max(_LOUD * louder.max(), 1e-12)
        gone = loud & (mixed < _SURVIVES / self.channels * louder)
        if gone.any():
            at = int(np.argmax(gone))
            kept = mixed[at] / louder[at]
            found = (
                f"the {self.channels} channels cancel in {gone.sum()} of {loud.sum()} loud "
                f"seconds: at {at} s their mix keeps {kept:.2g} of the louder one"
            )
            hint = "one is inverted: take --channel left, right or each (channel= in Python)"
            raise refused("S488", self.name, found, hint)


def check_channel(channel: str) -> None:
    """Refuse what is no choice of a channel."""
    if channel not in CHOICES:
        hint = f"choose {', '.join(CHOICES)}"
        raise ComposerError(Problem("R542", f"channel is '{channel}'", hint=hint))


def mixed_samples(
    table: np.ndarray, blocks: Iterable[np.ndarray], rate: int, name: str, channel: Channel
) -> tuple[Audio, ...]:
    """Return samples that a program gave, block by block."""
    mixer = Mixer(rate, table.shape[1], name, channel)
    for block in blocks:
        mixer.add(block)
    return mixer.done()

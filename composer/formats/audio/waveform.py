"""A waveform in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from composer.formats.audio.resampling import (
    full_scale,
    peak_of,
    resample,
    scaled,
    without_spikes,
)


@dataclass(frozen=True, eq=False)
class Audio:
    """A mono waveform: float32 samples [N], their rate in Hz, and their source.

    The samples are as the file has them: one channel or the mean of all, full scale 1.0, and beyond
    1.0 where a float file is. `notes` say what was asked for and is not the whole file: one channel
    of several, or a recording that was cut short.
    """

    samples: np.ndarray
    rate: int
    source: str
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return len(self.samples)

    @property
    def seconds(self) -> float:
        return self.frames / self.rate

    def blocks(self, rate: int) -> Iterator[np.ndarray]:
        """Yield the samples at a rate."""
        yield self.resample(rate).samples

    def resample(self, rate: int) -> Self:
        """Resample to another rate, within full scale.

        Resampling is soxr's HQ, which is librosa's default, to ceil(N * rate / own rate) samples.
        What then peaks above 1.0 is divided by its peak, as the loaders of Qwen3-ASR and MERaLiON
        do: a float file over full scale, or a loud one whose resampling overshoots. Single samples
        far above all others are cut to full scale, or the division would silence the rest.
        """
        samples = self.samples
        peak = peak_of(samples)
        if rate != self.rate:
            if peak > 1.0:
                samples = without_spikes(samples, full_scale(samples, peak))
            samples = resample(samples, self.rate, rate)
            peak = peak_of(samples)
        if peak > 1.0:
            samples = scaled(samples, full_scale(samples, peak))
        if samples is self.samples:
            return self
        return type(self)(as_read_only(samples), rate, self.source, self.notes)


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of one clip, each a separate waveform."""

    each: tuple[Audio, ...]

    @property
    def seconds(self) -> float:
        return self.each[0].seconds


def as_read_only(samples: np.ndarray) -> np.ndarray:
    """Return the same samples, no longer writeable."""
    samples.flags.writeable = False
    return samples

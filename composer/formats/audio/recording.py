"""A recording that is too long for memory, decoded again block by block whenever it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from composer.formats.audio.channels import Channel, select
from composer.formats.audio.container_parts import Part
from composer.formats.audio.decoding import decode_again
from composer.formats.audio.opening import Encoded, opened
from composer.formats.audio.resampling import (
    peak_of,
    resampled_blocks,
    scaled,
    streamed_full_scale,
    without_spikes,
)


@dataclass(frozen=True, eq=False)
class Recording:
    """One channel of a file that was decoded to its end once, and is whole and finite.

    `parts` are those of the file, `by_part` how many frames of each are taken. `column` is the
    number of the channel where each is read by itself. `careful` decodes in the small blocks that
    reach as far as possible into a damaged file. `source` and `notes` are as those of an Audio.
    """

    encoded: Encoded
    parts: Sequence[Part]
    by_part: Sequence[int]
    rate: int
    channel: Channel
    column: int
    careful: bool
    source: str
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return sum(self.by_part)

    @property
    def seconds(self) -> float:
        return self.frames / self.rate

    def blocks(self, rate: int) -> Iterator[np.ndarray]:
        """Yield the samples at a rate, those of `Audio.resample`, block by block.

        Where they peak above 1.0 the recording is read a few times before, for its level.
        """
        peaks = [0.0]
        peak, limit, scale = max(map(peak_of, self._resampled(rate, inf, peaks))), inf, 1.0
        if max(peaks) > 1.0:
            limit = streamed_full_scale(self._decoded(), self.frames, max(peaks))
            peak = max(map(peak_of, self._resampled(rate, limit)))
        if peak > 1.0:
            frames = -(-self.frames * rate // self.rate)
            scale = streamed_full_scale(self._resampled(rate, limit), frames, peak)
        for block in self._resampled(rate, limit):
            yield scaled(block, scale)

    def _resampled(
        self, rate: int, limit: float, peaks: list[float] | None = None
    ) -> Iterator[np.ndarray]:
        """Yield the samples at a rate, cut to a limit before; add the peaks of all blocks."""

        def limited() -> Iterator[np.ndarray]:
            for block in self._decoded():
                if peaks is not None:
                    peaks.append(peak_of(block))
                yield without_spikes(block, limit)

        return resampled_blocks(limited(), self.rate, rate)

    def _decoded(self) -> Iterator[np.ndarray]:
        with opened(self.encoded) as there:
            parts = []
            for part in self.parts:
                parts.append(replace(part, file=replace(part.file, file=there.file, at=0)))
            for block in decode_again(parts, self.by_part, self.careful, self.source):
                yield np.ascontiguousarray(select(block, self.channel)[:, self.column])


@dataclass(frozen=True, eq=False)
class Recordings:
    """The channels of one recording, each by itself."""

    each: tuple[Recording, ...]

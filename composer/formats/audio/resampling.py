"""Resample a waveform, whole or block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from composer.formats.audio.audio_problems import check_resampled

_FAR = 10.0


def resample(samples: np.ndarray, have: int, want: int) -> np.ndarray:
    """Resample by soxr's HQ, to ceil(N * new / old) samples."""
    import soxr

    count = -(-len(samples) * want // have)
    check_resampled(count, want)
    made = soxr.resample(samples, have, want, quality="HQ")
    if len(made) == count:
        return np.asarray(made)
    return np.pad(made[:count], (0, max(0, count - len(made))))


def resampled_blocks(blocks: Iterable[np.ndarray], have: int, want: int) -> Iterator[np.ndarray]:
    """Resample blocks that follow one another: the same samples as `resampled` gives of all."""
    import soxr

    if have == want:
        yield from blocks
        return
    stream = soxr.ResampleStream(have, want, 1, dtype="float32", quality="HQ")
    frames = made = 0
    for block in blocks:
        frames += len(block)
        more = np.asarray(stream.resample_chunk(block))
        made += len(more)
        yield more
    rest = np.asarray(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    missing = -(-frames * want // have) - made
    yield np.pad(rest[:missing], (0, max(0, missing - len(rest))))


def scaled(samples: np.ndarray, scale: float) -> np.ndarray:
    """Return samples within a full scale; those beyond are cut to it."""
    return samples if scale == 1.0 else np.clip(samples / np.float32(scale), -1.0, 1.0)


def without_spikes(samples: np.ndarray, limit: float) -> np.ndarray:
    """Return samples cut to a full scale, or themselves: a spike rings once it is resampled."""
    return np.clip(samples, -limit, limit) if peak_of(samples) > limit else samples


def full_scale(samples: np.ndarray, peak: float) -> float:
    """Return what full scale is of samples that peak above 1.0: their peak, or less.

    Less where the peak is `_FAR` times the level that all but a thousandth of the samples keep: it
    is no sound, but a spike of a converter or an editor.
    """
    kept = len(samples) - 1 - len(samples) // 1000
    return _full_scale(float(np.partition(np.abs(samples), kept)[kept]), peak)


def streamed_full_scale(blocks: Iterable[np.ndarray], frames: int, peak: float) -> float:
    """Return what `full_scale` returns of all blocks, which have so many samples together."""
    count = frames // 1000 + 1
    loudest = np.zeros(0, np.float32)
    for block in blocks:
        loudest = np.concatenate([loudest, np.abs(block)])
        if len(loudest) > count:
            loudest = np.partition(loudest, len(loudest) - count)[-count:]
    return _full_scale(float(loudest.min()), peak)


def _full_scale(level: float, peak: float) -> float:
    return max(1.0, min(peak, _FAR * level)) if level else peak


def peak_of(samples: np.ndarray) -> float:
    """Return the largest magnitude without a copy; 0 for no samples."""
    return max(float(samples.max()), -float(samples.min())) if samples.size else 0.0

"""Log-mel features of the Whisper family."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from composer.core.call_signature import OUT
from composer.core.component import (
    Bound,
    Component,
    ComponentConfig,
    Facts,
    Spec,
    method,
)
from composer.core.errors import ComposerError, Problem
from composer.core.sizes import MOST_NUMBERS
from composer.formats.audio.waveform import Audio

from .framing import call_at, require_frame, require_numbers, samples_at
from .mel_filters import mel_filters
from .padding import ClipPadding, padding_for_frames
from .spectrum import filtered_powers

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers

_FLOOR, _RANGE = 1e-10, 8.0


class LogMel(Component, name="audio.log_mel"):
    """Log-mel features of a waveform, by the rules of Whisper, Qwen3-ASR or MERaLiON.

    Frames are centred, with reflected edges, under a periodic Hann window; the power spectrum
    goes through slaney-scaled, slaney-normed mel filters from 0 Hz to half the rate; then
    log10(max(x, 1e-10)), clamped to 8 below the clip's largest, then (x + 4) / 4. The last frame
    is dropped. `out` is [mels, frames]; `mask` marks the frames that are sound, not padding.

    The three differ by config. Qwen3-ASR: `{mels: 128, pad: {multiple_of: 100},
    min_samples: 8000}`. Whisper: `{mels: 80, pad: {seconds: 30}, frames: ceil}`. MERaLiON: as
    Whisper with `{mels: 128, normalize: true}`, and for long clips `pad: {seconds: 30, slices:
    10}`: consecutive slices of 30 s side by side, each by these rules as if it were alone. A clip
    that does not fit is refused, never cut.
    """

    class Config(ComponentConfig):
        """Settings that differ within the family."""

        mels: int = Field(ge=1, le=512, description="mel filters, the rows of the result")
        rate: int = Field(16_000, ge=4_000, le=384_000, description="Hz; audio is resampled to it")
        n_fft: int = Field(400, ge=16, le=16_384, description="samples in a frame and in its FFT")
        hop: int = Field(160, ge=1, le=16_384, description="samples from one frame to the next")
        pad: ClipPadding | None = Field(
            None,
            description="{multiple_of: N} frames, or {seconds: N} with as many slices of it as "
            "{slices: K}; default: the clip's own",
        )
        normalize: bool = Field(
            False,
            description="waveform to mean 0 and variance 1, slice by slice, before padding to "
            "seconds",
        )
        min_samples: int = Field(
            0, ge=0, le=480_000, description="shorter clips get silence, which counts as sound"
        )
        frames: Literal["floor", "ceil"] = Field(
            "floor", description="how many frames N samples are: floor(N / hop) or ceil(N / hop)"
        )

        @model_validator(mode="after")
        def _fits(self) -> Self:
            if self.hop > self.n_fft:
                raise ValueError(f"hop {self.hop} skips sound: a frame has {self.n_fft} samples")
            limit = self.limit
            if (
                limit is not None
                and self.pad
                and self.pad.slices * self.mels * limit > MOST_NUMBERS * self.hop
            ):
                raise ValueError(
                    f"the features would be more than {MOST_NUMBERS} numbers: take a longer hop"
                )
            if limit is not None and limit % self.hop:
                raise ValueError(f"pad makes {limit} samples, not a multiple of hop {self.hop}")
            if limit is not None and self.min_samples > limit:
                raise ValueError(f"min_samples is {self.min_samples}, but pad makes {limit}")
            return self

        @property
        def limit(self) -> int | None:
            """The samples of every clip or slice under `pad: {seconds: N}`."""
            if not self.pad or not self.pad.seconds:
                return None
            return self.pad.seconds * self.rate

    def __init__(self, config: Config, filters: np.ndarray) -> None:
        self.config = config
        self.filters = filters
        self.window = np.hanning(config.n_fft + 1)[:-1]

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        config: LogMel.Config = spec.config
        dims = {"M": Bound(config.mels, "config.mels")}
        if config.limit is not None and config.pad and config.pad.slices == 1:
            dims["F"] = Bound(config.limit // config.hop, "config.pad.seconds")
        call = call_at(config.rate, cls.methods["__call__"].returns)
        facts = Facts(dims=dims, methods={"__call__": call})
        if config.pad:
            facts = replace(facts, masks={OUT: "mask"})
        if config.limit is None:
            makes = partial(padding_for_frames, config.rate, config.hop, config.pad)
            facts = replace(facts, lengthen={"F": makes})
        return facts

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        config: LogMel.Config = spec.config
        filters = mel_filters(config.rate, config.n_fft, config.mels)
        empty = np.flatnonzero(~filters.any(axis=1))
        if len(empty):
            message = f"{len(empty)} of {config.mels} mel filters are between two FFT bins"
            hint = f"use fewer mels, or an n_fft above {config.n_fft}"
            raise ComposerError(Problem("W251", message, hint=hint))
        return cls(config, filters)

    @method(audio="audio 16000", returns={OUT: "f32 M F", "mask": "bool F"})
    def __call__(self, audio: Audio) -> dict[str, np.ndarray]:
        mels, true_frames = [], 0
        for samples in self._slices(audio):
            padded, count = self._prepare(samples, audio.source)
            mels.append(self._log_mel(padded))
            true_frames += count
        mel = mels[0] if len(mels) == 1 else np.concatenate(mels, axis=1)
        pad = self.config.pad
        if pad and pad.multiple_of:
            mel = np.pad(mel, ((0, 0), (0, -mel.shape[1] % pad.multiple_of)))
        return {OUT: mel, "mask": np.arange(mel.shape[1]) < true_frames}

    def _slices(self, audio: Audio) -> list[np.ndarray]:
        """Return the clip, or its consecutive slices, of which only the last may be shorter."""
        config = self.config
        samples = _pad_to(samples_at(audio, config.rate), config.min_samples)
        if config.limit is None or config.pad is None:
            return [samples]
        slices = [samples[at : at + config.limit] for at in range(0, len(samples), config.limit)]
        if len(slices) > config.pad.slices:
            seconds = config.pad.slices * config.limit // config.rate
            found = f"{audio.source} lasts {audio.seconds:.2f} s"
            message = f"{found}, but the features cover {seconds} s"
            hint = "split it into shorter clips, or allow more slices: "
            hint += f"it needs pad.slices {len(slices)}"
            raise ComposerError(Problem("R521", message, hint=hint))
        return slices

    def _prepare(self, samples: np.ndarray, source: str) -> tuple[np.ndarray, int]:
        """Return the padded waveform, and how many of its frames are true."""
        config = self.config
        if config.normalize:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        size = len(samples)
        if config.frames == "ceil":
            size += -size % config.hop
        true_frames = size // config.hop
        if config.limit is not None:
            size = config.limit
        minimum = max(config.n_fft // 2 + 1, config.hop)
        more = f", or set min_samples to {minimum} or more"
        require_frame(source, config.rate, size, minimum, more)
        return _pad_to(samples, size), true_frames

    def _log_mel(self, samples: np.ndarray) -> np.ndarray:
        """Map samples [N] to log-mel [M, N // hop], filtered in float32 as in training."""
        config = self.config
        count = len(samples) // config.hop
        require_numbers(config.mels, count)
        mel = filtered_powers(samples, self.window, config.hop, self.filters, count)
        np.maximum(mel, _FLOOR, out=mel)
        np.log10(mel, out=mel)
        np.maximum(mel, mel.max() - np.float32(_RANGE), out=mel)
        mel += 4.0
        mel /= 4.0
        return mel


def _pad_to(samples: np.ndarray, size: int) -> np.ndarray:
    """Append silence up to a size; return long enough samples without a copy."""
    if len(samples) >= size:
        return samples
    return np.pad(samples, (0, size - len(samples)))

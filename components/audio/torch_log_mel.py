"""Log-mel features as torchaudio's MelSpectrogram makes them: every frame, and nothing clamped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from composer.core.component import Bound, Component, ComponentConfig, Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.formats.audio.waveform import Audio

from .framing import require_numbers
from .mel_filters import mel_filters
from .polyphase import resample_poly
from .spectrum import filtered_powers

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers

_FLOOR = 1e-10


class TorchLogMel(Component, name="audio.torch_log_mel"):
    """Log-mel features as torchaudio's MelSpectrogram makes them, for Mega-ASR's router.

    The clip is resampled by a polyphase filter (scipy's `resample_poly`) in float64, and its level
    is left as it is. Frames are centred, with reflected edges, under a periodic Hann window; their
    power goes through slaney-scaled, slaney-normed filters; then (log10(max(x, 1e-10)) + 4) / 4. N
    samples give N // hop + 1 frames [mels, frames]: the last is kept, and nothing is clamped to
    the clip's largest number, which is what `audio.log_mel` does otherwise.
    """

    class Config(ComponentConfig):
        """Settings of the features."""

        mels: int = Field(80, ge=1, le=512, description="mel filters, the rows of the result")
        rate: int = Field(16_000, ge=4_000, le=384_000, description="Hz; audio is resampled to it")
        n_fft: int = Field(400, ge=16, le=16_384, description="samples in a frame and in its FFT")
        hop: int = Field(160, ge=1, le=16_384, description="samples from one frame to the next")

        @model_validator(mode="after")
        def _fits(self) -> Self:
            if self.hop > self.n_fft:
                raise ValueError(f"hop {self.hop} skips sound: a frame has {self.n_fft} samples")
            return self

    def __init__(self, config: Config, filters: np.ndarray) -> None:
        self.config = config
        self.filters = filters
        self.window = np.hanning(config.n_fft + 1)[:-1]

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        return Facts(dims={"M": Bound(spec.config.mels, "config.mels")})

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        config: TorchLogMel.Config = spec.config
        return cls(config, mel_filters(config.rate, config.n_fft, config.mels))

    @method(audio="audio", returns="f32 M F")
    def __call__(self, audio: Audio) -> np.ndarray:
        """Map a clip at its own rate to log-mel [M, F]."""
        config = self.config
        samples = resample_poly(audio.samples, audio.rate, config.rate).astype(np.float32)
        least = config.n_fft // 2 + 1
        if len(samples) < least:
            message = f"{audio.source} has {len(samples)} samples at {config.rate} Hz"
            message += f"; its edges are reflected, which takes {least}"
            raise ComposerError(Problem("R520", message, hint="give a longer clip"))
        return self._log_mel(samples)

    def _log_mel(self, samples: np.ndarray) -> np.ndarray:
        """Map samples [N] at the features' rate to log-mel [M, N // hop + 1]."""
        config = self.config
        count = len(samples) // config.hop + 1
        require_numbers(config.mels, count)
        mel = filtered_powers(samples, self.window, config.hop, self.filters, count)
        np.maximum(mel, _FLOOR, out=mel)
        np.log10(mel, out=mel)
        mel += 4.0
        mel /= 4.0
        return mel

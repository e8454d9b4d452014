"""Log-mel features of the Universal Speech Model's family, such as Gemma-4's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from composer.core.component import Bound, Component, ComponentConfig, Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.formats.audio.waveform import Audio

from .framing import call_at, require_frame, require_numbers, samples_at
from .mel_filters import mel_filters

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers

_BLOCK = 128  # frames in one FFT call: 330 kB, which stay in a processor's cache


class UsmLogMel(Component, name="audio.usm_log_mel"):
    """Log-mel features of a waveform, by the rules of the Universal Speech Model and Gemma-4.

    Half a frame of silence is added before the clip, and nothing after it: a frame counts if the
    clip has all its samples and the next one, so that N samples make (N - frame / 2 - 1) // hop + 1
    frames. Each is multiplied by a periodic Hann window, padded with zeros to n_fft, and its
    magnitudes, not squared, go through HTK-scaled mel filters of peak 1 from 0 Hz to half the rate;
    then ln(x + floor). The result is [frames, mels]. A clip that is too long is refused, never
    truncated.

    The formula is that of transformers' Gemma4AudioFeatureExtractor, which returns the same frames
    followed by masked frames of zeros.
    """

    class Config(ComponentConfig):
        """The settings of a preprocessor; the defaults are Gemma-4's."""

        mels: int = Field(128, ge=1, le=512, description="mel filters, the columns of the result")
        rate: int = Field(16_000, ge=4_000, le=384_000, description="Hz; audio is resampled to it")
        frame: int = Field(320, ge=16, le=16_384, description="samples under the window")
        hop: int = Field(160, ge=1, le=16_384, description="samples from one frame to the next")
        n_fft: int = Field(512, ge=16, le=16_384, description="samples in a frame's FFT")
        floor: float = Field(1e-3, gt=0, le=1, description="added before the logarithm")
        seconds: int = Field(30, ge=1, le=3600, description="the longest clip that is accepted")

        @model_validator(mode="after")
        def _fits(self) -> Self:
            if self.hop > self.frame:
                raise ValueError(f"hop {self.hop} skips sound: a frame has {self.frame} samples")
            if self.frame > self.n_fft:
                raise ValueError(f"a frame has {self.frame} samples and its FFT {self.n_fft}")
            return self

    def __init__(self, config: Config, filters: np.ndarray) -> None:
        self.config = config
        self.filters = filters
        # Rounded to float32, as the formula's source has it: a pure tone's leakage shows it.
        self.window = np.hanning(config.frame + 1)[:-1].astype(np.float32).astype(np.float64)

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        config: UsmLogMel.Config = spec.config
        call = call_at(config.rate, cls.methods["__call__"].returns)
        return Facts(dims={"M": Bound(config.mels, "config.mels")}, methods={"__call__": call})

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        config: UsmLogMel.Config = spec.config
        return cls(config, mel_filters(config.rate, config.n_fft, config.mels, "htk"))

    @method(audio="audio 16000", returns="f32 F M")
    def __call__(self, audio: Audio) -> np.ndarray:
        config, samples = self.config, samples_at(audio, self.config.rate)
        silence = config.frame // 2
        require_frame(audio.source, config.rate, len(samples), config.frame - silence + 1)
        if len(samples) > config.seconds * config.rate:
            found = f"{audio.source} lasts {audio.seconds:.2f} s"
            raise ComposerError(
                Problem(
                    "R521",
                    f"{found}, but the features cover {config.seconds} s",
                    hint="split it into shorter clips, or let the manifest do it: "
                    f"audio: {{type: audio, split: {{seconds: {config.seconds}}}}}",
                )
            )
        padded = np.pad(samples, (silence, 0))
        # One more sample than the frame, as the formula wants it; the window leaves it out.
        frames = np.lib.stride_tricks.sliding_window_view(padded, config.frame + 1)[:: config.hop]
        require_numbers(config.mels, len(frames))
        mel = np.empty((len(frames), config.mels), np.float32)
        for start in range(0, len(frames), _BLOCK):
            framed = frames[start : start + _BLOCK, :-1] * self.window
            magnitude = np.abs(np.fft.rfft(framed, config.n_fft)).astype(np.float32)
            np.matmul(magnitude, self.filters.T, out=mel[start : start + _BLOCK])
        mel += np.float32(config.floor)
        return np.log(mel, out=mel)

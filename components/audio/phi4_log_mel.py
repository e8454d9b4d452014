"""Log-mel features of Phi-4 Multimodal, which Microsoft's SpeechLib defined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from composer.core.component import Bound, Component, ComponentConfig, Facts, Spec, method
from composer.formats.audio.waveform import Audio

from .framing import call_at, require_frame, require_numbers, samples_at

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers

_BLOCK = 128  # frames in one FFT call: 400 kB, which stay in a processor's cache
_FULL_SCALE = 32_768.0  # samples are those of 16 bits
_LEAST_POWER = 1.0


class Phi4LogMel(Component, name="audio.phi4_log_mel"):
    """Log-mel features of a waveform, by the rules of Phi-4 Multimodal.

    Frames begin at the first sample, without padding: N samples make (N - frame) // hop + 1 frames,
    and what is left after the last whole one, less than a hop, is in none. Each frame is
    pre-emphasized by itself, x[i] - preemphasis x[i - 1], where the first sample is its own
    predecessor; then scaled to 16 bits, multiplied by a symmetric Hamming window, padded with zeros
    to n_fft, and its powers go through triangles that are linear in mel = 1127 ln(1 + f / 700);
    then ln(max(x, 1)). The result is [frames, mels], neither centred nor scaled: the encoder has
    the mean and the deviation of its training.

    The formula is that of transformers' Phi4MultimodalFeatureExtractor, but for the last bin under
    `highest`: SpeechLib's triangles end before it, as the model was trained, and transformers' do
    not. The last mel differs by up to 0.02.
    """

    class Config(ComponentConfig):
        """The settings of a preprocessor; the defaults are Phi-4's."""

        mels: int = Field(80, ge=1, le=512, description="mel filters, the columns of the result")
        rate: int = Field(16_000, ge=4_000, le=384_000, description="Hz; audio is resampled to it")
        frame: int = Field(400, ge=16, le=16_384, description="samples under the window")
        hop: int = Field(160, ge=1, le=16_384, description="samples from one frame to the next")
        n_fft: int = Field(512, ge=16, le=16_384, description="samples in a frame's FFT")
        preemphasis: float = Field(
            0.97, ge=0, lt=1, description="share of the sample before that is taken away"
        )
        highest: float = Field(7_690.0, gt=0, description="Hz where the last triangle ends")

        @model_validator(mode="after")
        def _fits(self) -> Self:
            if self.hop > self.frame:
                raise ValueError(f"hop {self.hop} skips sound: a frame has {self.frame} samples")
            if self.frame > self.n_fft:
                raise ValueError(f"a frame has {self.frame} samples and its FFT {self.n_fft}")
            if 2 * self.highest > self.rate:
                raise ValueError(f"highest {self.highest:g} Hz is over half of {self.rate} Hz")
            return self

    def __init__(self, config: Config) -> None:
        self.config = config
        self.filters = speechlib_filters(config.rate, config.n_fft, config.mels, config.highest)
        self.window = np.hamming(config.frame)

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        config: Phi4LogMel.Config = spec.config
        call = call_at(config.rate, cls.methods["__call__"].returns)
        return Facts(dims={"M": Bound(config.mels, "config.mels")}, methods={"__call__": call})

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        return cls(spec.config)

    @method(audio="audio 16000", returns="f32 F M")
    def __call__(self, audio: Audio) -> np.ndarray:
        config, samples = self.config, samples_at(audio, self.config.rate)
        require_frame(audio.source, config.rate, len(samples), config.frame)
        frames = np.lib.stride_tricks.sliding_window_view(samples, config.frame)[:: config.hop]
        require_numbers(config.mels, len(frames))
        mel = np.empty((len(frames), config.mels), np.float32)
        for start in range(0, len(frames), _BLOCK):
            framed = self._emphasize(frames[start : start + _BLOCK]) * self.window
            magnitude = np.abs(np.fft.rfft(framed, config.n_fft)).astype(np.float32)
            np.matmul(magnitude**2, self.filters.T, out=mel[start : start + _BLOCK])
        np.maximum(mel, np.float32(_LEAST_POWER), out=mel)
        return np.log(mel, out=mel)

    def _emphasize(self, frames: np.ndarray) -> np.ndarray:
        """Take a share of the sample before away within frames [F, N]; return them in 16 bits."""
        before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        return (frames - np.float32(self.config.preemphasis) * before) * np.float32(_FULL_SCALE)


def speechlib_filters(rate: int, n_fft: int, mels: int, highest: float) -> np.ndarray:
    """Return SpeechLib's filters from 0 Hz, float32 [mels, 1 + n_fft / 2].

    They are triangles of peak 1 over mels, and 0 from the bin that is nearest to `highest` on.
    """
    bins = _to_mel(np.fft.rfftfreq(n_fft, 1 / rate))
    width = _to_mel(np.array(highest)) / (mels + 1)
    peaks = width * np.arange(1, mels + 1)
    filters = np.maximum(0, 1 - np.abs(bins - peaks[:, None]) / width)
    filters[:, int(highest * n_fft / rate + 0.5) :] = 0
    return filters.astype(np.float32)


def _to_mel(hertz: np.ndarray) -> np.ndarray:
    mel: np.ndarray = 1127.0 * np.log(1.0 + hertz / 700.0)
    return mel

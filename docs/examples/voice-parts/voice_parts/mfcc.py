"""Mel-frequency cepstral coefficients with their deltas."""

import numpy as np
from pydantic import Field, model_validator

from composer import (
    Bound,
    CallSignature,
    Component,
    ComponentConfig,
    ComposerError,
    Facts,
    Problem,
    method,
)
from composer.core.ports import parse_port, parse_ports

REACH = 4  # rows on each side that a slope is taken over, librosa's default


class Mfcc(Component, name="voice.mfcc"):
    """Turn a waveform into MFCCs with deltas, as librosa does with `htk` and without centring."""

    class Config(ComponentConfig):
        rate: int = Field(16_000, ge=8_000, le=48_000, description="Hz")
        window: int = Field(400, ge=16, le=4096, description="samples in a frame")
        hop: int = Field(160, ge=1, le=4096, description="samples from one frame to the next")
        mels: int = Field(26, ge=2, le=128, description="mel filters")
        coefficients: int = Field(13, ge=1, le=128, description="coefficients that are kept")
        deltas: int = Field(2, ge=0, le=2, description="how many times slopes are added")

        @model_validator(mode="after")
        def keep_what_there_is(self):
            if self.coefficients > self.mels:
                raise ValueError(f"coefficients {self.coefficients} is more than mels {self.mels}")
            return self

    @classmethod
    def facts(cls, spec, headers):
        config = spec.config
        inputs = {"audio": parse_ports(f"audio {config.rate}")}
        call = CallSignature(inputs, {"out": parse_port("f32 F C")})
        width = config.coefficients * (1 + config.deltas)
        witness = f"config.coefficients {config.coefficients}, with deltas {config.deltas}"
        return Facts({"C": Bound(width, witness)}, methods={"__call__": call})

    @classmethod
    def load(cls, spec, facts, placement):
        return cls(spec.config)

    def __init__(self, config):
        self.config = config
        self.window = np.hanning(config.window + 1)[:-1]
        self.filters = mel_filters(config.rate, config.window, config.mels)
        self.cosines = cosines(config.coefficients, config.mels)

    @method(audio="audio 16000", returns="f32 F C")
    def __call__(self, audio):
        config = self.config
        if audio.frames < config.window:
            message = f"{audio.source} has {audio.frames} samples, and a frame {config.window}"
            raise ComposerError(Problem("R910", message, hint="give a longer clip"))
        frames = np.lib.stride_tricks.sliding_window_view(audio.samples, config.window)
        power = np.abs(np.fft.rfft(frames[:: config.hop] * self.window)) ** 2
        parts = [np.log(power @ self.filters.T + 1e-10) @ self.cosines.T]
        for _ in range(config.deltas):
            parts.append(slopes(parts[-1]))
        return np.concatenate(parts, axis=1).astype(np.float32)


def mel_filters(rate, window, mels):
    """Return triangles [mels, window // 2 + 1] on the scale of HTK."""
    highest = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, mels + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(window, 1 / rate)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling))


def cosines(coefficients, mels):
    """Return the orthonormal cosine transform [coefficients, mels]."""
    k = np.arange(coefficients)[:, None]
    made = np.cos(np.pi * k * (2 * np.arange(mels) + 1) / (2 * mels)) * np.sqrt(2 / mels)
    made[0] /= np.sqrt(2)
    return made


def slopes(rows):
    """Return the slope of a line through the rows around each; the first and last are repeated."""
    padded = np.pad(rows, ((REACH, REACH), (0, 0)), mode="edge")
    steps = np.arange(-REACH, REACH + 1)
    around = np.lib.stride_tricks.sliding_window_view(padded, len(steps), axis=0)
    return around @ steps / np.square(steps).sum()

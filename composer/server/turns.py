"""Find where somebody begins to speak and ends, in audio that is still coming."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from composer.formats.audio.reading import read_audio
from composer.runtime.speech_scores import Detector
from composer.server.errors import bad_request, unsupported_request
from composer.server.realtime_audio import AudioFormat

SERVER_VAD = "server_vad"
NO_RESPONSES = ("create_response", "interrupt_response")
STEP = 0.25  # seconds of new audio that are scored at once
CONTEXT = 8.0  # seconds before them that a detector is given too: it needs the background
ENDED = 0.15  # how far below the threshold speech ends, as in Silero's own code
LONGEST = 10_000  # milliseconds


@dataclass(frozen=True)
class TurnSettings:
    """When a turn begins and ends, as OpenAI's `server_vad` has it."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500

    @classmethod
    def read(cls, given: Mapping[str, Any], at: str) -> TurnSettings:
        """Read `turn_detection`, whose keys are all known; raise ApiError."""
        if given.get("type") != SERVER_VAD:
            message = f"turns are found by {SERVER_VAD}, or by the client, with null"
            raise unsupported_request(message, f"{at}.type")
        for name in NO_RESPONSES:
            if given.get(name):
                raise unsupported_request("there are no responses here", f"{at}.{name}")
        found: dict[str, Any] = {}
        for name, most in (("threshold", 1), *((each, LONGEST) for each in MILLISECONDS)):
            value = given.get(name, getattr(cls, name))
            number = isinstance(value, int) or (most == 1 and isinstance(value, float))
            if isinstance(value, bool) or not number or not 0 <= value <= most:
                raise bad_request(f"'{name}' must be a number from 0 to {most}", f"{at}.{name}")
            found[name] = value
        return cls(**found)

    def shown(self) -> dict[str, Any]:
        """Return it as a session shows it."""
        return {"type": SERVER_VAD, **asdict(self)}


MILLISECONDS = tuple(each.name for each in fields(TurnSettings))[1:]
KEYS = {"type", "threshold", *MILLISECONDS, *NO_RESPONSES}


@dataclass(frozen=True)
class TurnEdge:
    """Where a turn begins or ends, as the number of a sample in the session."""

    begins: bool
    sample: int


class TurnFinder:
    """The turns of the audio that comes from sample `start` of a session on."""

    def __init__(
        self, settings: TurnSettings, detector: Detector, format: AudioFormat, start: int
    ) -> None:
        self.speaking = False
        self._settings = settings
        self._detector = detector
        self._format = format
        self._recent = bytearray()  # from sample `first` on
        self._first = self._scored = start
        self._quiet = 0.0
        self._padding = settings.prefix_padding_ms * format.rate // 1000

    @property
    def first_needed(self) -> int:
        """Return the first sample that a turn may have which has not begun."""
        return self._scored - self._padding

    @property
    def _count(self) -> int:
        return len(self._recent) // self._format.sample_bytes

    def add(self, data: bytes) -> bool:
        """Take in what has come; return whether there is enough to look at."""
        self._recent += data
        return self._first + self._count - self._scored >= STEP * self._format.rate

    def look(self) -> list[TurnEdge]:
        """Return where turns begin and end in what was not looked at before."""
        whole = bytes(self._recent[: self._count * self._format.sample_bytes])
        scores = self._detector.scores(read_audio(self._format.wav(whole)))
        window = round(scores.step * self._format.rate)
        before, full = (self._scored - self._first) // window, self._count // window
        found = list(self._edges(scores.scores[before:full].tolist(), window))
        self._scored = self._first + full * window
        unneeded = max(0, full - round(CONTEXT * self._format.rate / window)) * window
        del self._recent[: unneeded * self._format.sample_bytes]
        self._first += unneeded
        return found

    def _edges(self, scores: list[float], window: int) -> Iterator[TurnEdge]:
        for number, score in enumerate(scores):
            start = self._scored + number * window
            if not self.speaking and score >= self._settings.threshold:
                self.speaking, self._quiet = True, 0.0
                yield TurnEdge(True, max(0, start - self._padding))
            elif self.speaking:
                ended = score < self._settings.threshold - ENDED
                self._quiet = self._quiet + window / self._format.rate if ended else 0.0
                if 1000 * self._quiet >= self._settings.silence_duration_ms and ended:
                    self.speaking = False
                    yield TurnEdge(False, start + window)

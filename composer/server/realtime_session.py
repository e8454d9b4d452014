"""The settings of a realtime session, and the audio that it has not committed yet."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from composer.core.suggest import did_you_mean, listed
from composer.server.errors import ApiError, bad_request, unsupported_request
from composer.server.served_models import ServedModels
from composer.server.transcription_request import TranscriptionRequest, read_transcription

LONGEST_APPEND = 15 * 2**20  # characters of base64
RATES = {"audio/pcm": (24_000, 16_000), "audio/pcmu": (8000,), "audio/pcma": (8000,)}
CODES = {"audio/pcm": (1, 16), "audio/pcmu": (7, 8), "audio/pcma": (6, 8)}  # of WAV, and its bits
AT = "session.audio.input"
TEXTS = ("model", "language", "prompt")
WORDS = "timestamp_granularities"  # this server's own: OpenAI's sessions have no words
LISTS = ("languages", "keywords", WORDS)
INCLUDED = {"item.input_audio_transcription.logprobs": "logprobs"}


@dataclass(frozen=True)
class SessionSettings:
    """What a client may set: the format of its audio, and the fields of a transcription."""

    kind: str = "audio/pcm"
    rate: int = 24_000
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def sample_bytes(self) -> int:
        """Return the bytes of a sample."""
        return CODES[self.kind][1] // 8

    def shown(self) -> dict[str, Any]:
        """Return it as `session.created` and `session.updated` do."""
        transcription: dict[str, Any] = {}
        included = []
        for name, value in self.fields:
            if name == "include":
                included.append(next(long for long, short in INCLUDED.items() if short == value))
            elif name in LISTS:
                transcription.setdefault(name, []).append(value)
            else:
                transcription[name] = value
        return {
            "type": "transcription",
            "object": "realtime.transcription_session",
            "audio": {
                "input": {
                    "format": {"type": self.kind, "rate": self.rate},
                    "transcription": transcription or None,
                    "turn_detection": None,
                    "noise_reduction": None,
                }
            },
            "include": included,
        }

    def request(self, models: ServedModels) -> TranscriptionRequest:
        """Return the transcription that it asks for; raise ApiError."""
        return read_transcription(models, [*self.fields, ("stream", "true")])

    def updated(self, given: Any, models: ServedModels) -> SessionSettings:
        """Return it with what a client sets; raise ApiError, which names the field."""
        session = _keys(given, "session", {"type", "audio", "include"})
        if session.get("type", "transcription") != "transcription":
            raise unsupported_request("sessions of this server transcribe", "session.type")
        audio = _keys(session.get("audio"), "session.audio", {"input"})
        known = {"format", "transcription", "turn_detection", "noise_reduction"}
        given_input = _keys(audio.get("input"), AT, known)
        for name in ("turn_detection", "noise_reduction"):
            if given_input.get(name) is not None:
                message = f"there is no {name} here: leave it null, and commit what was said"
                raise unsupported_request(message, f"{AT}.{name}")
        found = self._with_included(session["include"]) if "include" in session else self
        if given_input.get("format") is not None:
            found = found._with_format(given_input["format"])
        if given_input.get("transcription") is not None:
            found = found._with_fields(given_input["transcription"])
        has_model = any(name == "model" for name, _ in found.fields)
        if found.fields and (has_model or given_input.get("transcription") is not None):
            found.request(models)
        return found

    def _with_included(self, given: Any) -> SessionSettings:
        if not isinstance(given, list):
            raise bad_request("'include' is a list of texts", "session.include")
        fields = [pair for pair in self.fields if pair[0] != "include"]
        for each in given:
            if not isinstance(each, str) or each not in INCLUDED:
                message = f"'{each}' cannot be included: {listed(INCLUDED)} can"
                raise unsupported_request(message, "session.include")
            fields.append(("include", INCLUDED[each]))
        return replace(self, fields=tuple(dict.fromkeys(fields)))

    def _with_format(self, given: Any) -> SessionSettings:
        format = _keys(given, f"{AT}.format", {"type", "rate"})
        kind = format.get("type", self.kind)
        if kind not in RATES:
            message = f"the format is one of {listed(RATES)}"
            raise bad_request(message, f"{AT}.format.type")
        rate = format.get("rate", RATES[kind][0])
        if rate not in RATES[kind]:
            rates = " or ".join(map(str, RATES[kind]))
            raise bad_request(f"the rate of {kind} is {rates}", f"{AT}.format.rate")
        return replace(self, kind=kind, rate=rate)

    def _with_fields(self, given: Any) -> SessionSettings:
        at = f"{AT}.transcription"
        fields = _keys(given, at, {*TEXTS, *LISTS, "delay"})
        if fields.get("delay") is not None:
            raise unsupported_request(
                "text comes as soon as it can: there is no delay", f"{at}.delay"
            )
        pairs = dict.fromkeys(pair for pair in self.fields if pair[0] not in fields)
        for name in (*TEXTS, *LISTS):
            value = fields.get(name)
            several = value if name in LISTS and value is not None else [value]
            if not isinstance(several, list):
                raise bad_request(f"'{name}' is a list of texts", f"{at}.{name}")
            for each in several:
                if each is not None and not isinstance(each, str):
                    raise bad_request(f"'{name}' must be text", f"{at}.{name}")
                if each:
                    pairs[name, each] = None
        return replace(self, fields=tuple(pairs))


@dataclass
class AudioBuffer:
    """The audio of a session that is not committed yet, at most `max_seconds` of it."""

    max_seconds: float
    data: bytearray = field(default_factory=bytearray)

    def append(self, text: Any, settings: SessionSettings) -> None:
        """Append base64; raise ApiError for what is none, or too much."""
        if not isinstance(text, str) or len(text) > LONGEST_APPEND:
            raise bad_request(f"'audio' is base64 of at most {LONGEST_APPEND} characters", "audio")
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise bad_request("'audio' is no base64", "audio") from None
        limit = int(self.max_seconds * settings.rate) * settings.sample_bytes
        if len(self.data) + len(data) > limit:
            message = f"the buffer takes {self.max_seconds:g} s: commit or clear it"
            raise bad_request(message, "audio", "input_audio_buffer_full")
        self.data += data

    def take(self, settings: SessionSettings) -> bytes:
        """Return what was appended as a WAV file, and empty the buffer; raise ApiError."""
        if not self.data:
            message = "the buffer is empty: append audio before it is committed"
            raise bad_request(message, None, "input_audio_buffer_commit_empty")
        if len(self.data) % settings.sample_bytes:
            raise bad_request("the buffer ends inside a sample", None, "input_audio_buffer_odd")
        data = bytes(self.data)
        self.data.clear()
        return wav_bytes(data, settings.kind, settings.rate)


def wav_bytes(data: bytes, kind: str, rate: int) -> bytes:
    """Return mono samples as a WAV file."""
    code, bits = CODES[kind]
    size = bits // 8
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, code, 1, rate, rate * size, size, bits)
    samples = struct.pack("<4sI", b"data", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(head) + len(samples)) + b"WAVE" + head + samples


def _keys(given: Any, at: str, known: set[str]) -> Mapping[str, Any]:
    """Return an object whose keys are all known; None is an empty one."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise bad_request(f"'{at}' must be an object", at)
    for key in given:
        if key not in known:
            near = did_you_mean(key, known)
            hint = f"; {near}" if near else ""
            message = f"there is no '{key}' in {at}{hint}"
            raise bad_request(message, f"{at}.{key}", "unknown_parameter")
    return given


def error_event(error: ApiError, event: str | None = None) -> dict[str, Any]:
    """Return an error as events have it."""
    found: dict[str, Any] = error.body()["error"]
    return {**found, "event_id": event} if event is not None else found

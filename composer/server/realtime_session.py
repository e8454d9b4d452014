"""The settings of a realtime session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from composer.core.suggest import did_you_mean, listed
from composer.server.errors import ApiError, bad_request, unsupported_request
from composer.server.realtime_audio import RATES, AudioFormat
from composer.server.served_models import ServedModels
from composer.server.transcription_request import TranscriptionRequest, read_transcription
from composer.server.turns import KEYS, TurnSettings

AT = "session.audio.input"
TEXTS = ("model", "language", "prompt")
WORDS = "timestamp_granularities"  # this server's own: OpenAI's sessions have no words
LISTS = ("languages", "keywords", WORDS)
INCLUDED = {"item.input_audio_transcription.logprobs": "logprobs"}


@dataclass(frozen=True)
class SessionSettings:
    """What a client may set: the format of its audio, the fields of a transcription, and how turns
    are found, None where the client says where they end.
    """

    format: AudioFormat = field(default_factory=AudioFormat)
    fields: tuple[tuple[str, str], ...] = ()
    turns: TurnSettings | None = None

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
                    "format": {"type": self.format.kind, "rate": self.format.rate},
                    "transcription": transcription or None,
                    "turn_detection": self.turns.shown() if self.turns else None,
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
        if given_input.get("noise_reduction") is not None:
            message = "there is no noise reduction here: leave it null"
            raise unsupported_request(message, f"{AT}.noise_reduction")
        found = self._with_included(session["include"]) if "include" in session else self
        if given_input.get("format") is not None:
            found = found._with_format(given_input["format"])
        if given_input.get("transcription") is not None:
            found = found._with_fields(given_input["transcription"])
        if "turn_detection" in given_input:
            found = found._with_turns(given_input["turn_detection"])
        has_model = any(name == "model" for name, _ in found.fields)
        needs_model = given_input.get("transcription") is not None or found.turns is not None
        if needs_model or has_model:
            found.request(models)
        return found

    def _with_turns(self, given: Any) -> SessionSettings:
        at = f"{AT}.turn_detection"
        turns = None if given is None else TurnSettings.read(_keys(given, at, KEYS), at)
        return replace(self, turns=turns)

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
        kind = format.get("type", self.format.kind)
        if kind not in RATES:
            message = f"the format is one of {listed(RATES)}"
            raise bad_request(message, f"{AT}.format.type")
        rate = format.get("rate", RATES[kind][0])
        if rate not in RATES[kind]:
            rates = " or ".join(map(str, RATES[kind]))
            raise bad_request(f"the rate of {kind} is {rates}", f"{AT}.format.rate")
        return replace(self, format=AudioFormat(kind, rate))

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

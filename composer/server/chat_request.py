"""Read the JSON of a chat completion, and find the task that answers it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.suggest import did_you_mean
from composer.formats.audio.clip import Clip
from composer.formats.strictjson import parse_object
from composer.jobs.chat_completion import ChatTask, Message, find_chat_task, with_options
from composer.server.errors import api_error_of, bad_request, unsupported_request
from composer.server.served_models import ServedModel, ServedModels
from composer.server.settings import ServerSettings

BODY, DEPTH = Location("request", "", None), 32
AUDIO = ("wav", "mp3", "flac", "ogg", "aiff")
ROLES = {"developer": "system"}
NUMBERS = {  # fields of the API by their least and greatest value, and our option
    "temperature": (0.0, 2.0, "temperature"),
    "top_p": (0.0, 1.0, "top_p"),
    "presence_penalty": (-2.0, 2.0, "presence_penalty"),
    "frequency_penalty": (-2.0, 2.0, "frequency_penalty"),
}
WHOLE = {
    "max_tokens": (1, 100_000, "max_tokens"),
    "max_completion_tokens": (1, 100_000, "max_tokens"),
    "seed": (0, 2**63 - 1, "seed"),
    "top_k": (0, 1_000_000, "top_k"),
}
# What says nothing about the answer, or may only be what it is here anyway.
IGNORED = {"user", "metadata", "safety_identifier", "prompt_cache_key"}
ONLY: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "store": (False,),
    "logprobs": (False,),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "service_tier": ("auto", "default"),
}
READ = {"model", "messages", "stream", "stream_options", "stop", "task"}


@dataclass(frozen=True)
class ChatRequest:
    """A chat completion that can run, and how its answer is written."""

    model: ServedModel
    question: ChatTask
    stream: bool
    usage: bool


def read_chat(models: ServedModels, data: bytes, settings: ServerSettings) -> ChatRequest:
    """Read a request; raise ApiError, which names the field, for the first that is wrong."""
    body = _object(data)
    _refuse(body)
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise bad_request(f"'model' is missing; this server has {', '.join(models.names)}", "model")
    model = models[name]
    stream = _flag(body, "stream")
    extra = body.get("stream_options") or {}
    if extra and (not isinstance(extra, dict) or extra.keys() - {"include_usage"} or not stream):
        message = "stream_options has include_usage alone, and goes with stream"
        raise bad_request(message, "stream_options")
    task = body.get("task")
    if task is not None and not isinstance(task, str):
        raise bad_request("'task' must be a text", "task")
    messages = _messages(body.get("messages"), settings)
    options = _options(body)
    try:
        asked = find_chat_task(model.bundle, messages, task)
    except ComposerError as error:
        raise api_error_of(error, "messages") from None
    try:
        asked = with_options(asked, options)
    except ComposerError as error:
        raise api_error_of(error, next(iter(options))) from None
    return ChatRequest(model, asked, stream, bool(extra.get("include_usage")))


def _object(data: bytes) -> dict[str, Any]:
    try:
        return parse_object(BODY, data, what="the body", depth=DEPTH)
    except ComposerError as error:
        raise bad_request(error.problems[0].message, None) from None


def _refuse(body: Mapping[str, Any]) -> None:
    """Refuse by name what is unknown, and what there is not here."""
    known = {*READ, *IGNORED, *ONLY, *NUMBERS, *WHOLE}
    for name, value in body.items():
        if name not in known:
            near = did_you_mean(name, known)
            hint = f"; {near}" if near else ""
            raise bad_request(f"there is no field '{name}' here{hint}", name, "unknown_parameter")
        if name in ONLY and value is not None and value not in ONLY[name]:
            if name in ("tools", "functions", "tool_choice"):
                raise unsupported_request("models of this server call no tools", name)
            raise unsupported_request(f"'{name}' can only be {json.dumps(ONLY[name][0])}", name)


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value not in (None, True, False) or isinstance(value, float):
        raise bad_request(f"'{name}' must be true or false", name)
    return bool(value)


def _options(body: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (least, most, option) in NUMBERS.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise bad_request(f"'{name}' must be a number", name)
        if not least <= value <= most:
            raise bad_request(f"'{name}' must be from {least:g} to {most:g}", name)
        found[option] = float(value)
    for name, (first, last, option) in WHOLE.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not first <= value <= last:
            raise bad_request(f"'{name}' must be a whole number from {first} to {last}", name)
        found[option] = value
    stop = body.get("stop")
    if stop:
        texts = [stop] if isinstance(stop, str) else stop
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            raise bad_request("'stop' must be a text or a list of texts", "stop")
        found["stop_text"] = texts
    return found


def _messages(given: Any, settings: ServerSettings) -> list[Message]:
    if not isinstance(given, list) or not given:
        raise bad_request("'messages' must be a list of messages", "messages")
    return [_message(each, f"messages[{n}]", settings) for n, each in enumerate(given)]


def _message(given: Any, at: str, settings: ServerSettings) -> Message:
    if not isinstance(given, dict):
        raise bad_request(f"{at} is no object", at)
    for key in given.keys() - {"role", "content", "name", "refusal"}:
        if given[key]:
            raise unsupported_request(f"{at} has '{key}', which no model of this server takes", at)
    role = given.get("role")
    role = ROLES.get(role, role) if isinstance(role, str) else role
    if role not in ("system", "user", "assistant"):
        raise bad_request(f"{at}.role must be system, developer, user or assistant", f"{at}.role")
    content = given.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not parts:
        raise bad_request(f"{at}.content must be a text or a list of parts", f"{at}.content")
    texts, audio, images = [], [], []
    for number, part in enumerate(parts):
        here = f"{at}.content[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        value = part.get(kind) if isinstance(kind, str) else None
        if kind == "text" and isinstance(value, str):
            texts.append(value)
        elif kind == "input_audio" and isinstance(value, dict) and role == "user":
            audio.append(_audio(value, here, settings))
        elif kind == "image_url" and isinstance(value, dict) and role == "user":
            images.append(_image(value, here))
        else:
            message = f"{here} must be a text, or the user's input_audio or image_url"
            raise bad_request(message, here)
    return Message(role, "\n".join(texts), tuple(audio), tuple(images))


def _audio(value: Mapping[str, Any], at: str, settings: ServerSettings) -> Clip:
    if value.get("format") not in AUDIO:
        raise bad_request(f"{at}.input_audio.format must be one of {', '.join(AUDIO)}", at)
    data = _decoded(value.get("data"), f"{at}.input_audio.data")
    return Clip(data, max_seconds=settings.max_seconds)


def _image(value: Mapping[str, Any], at: str) -> bytes:
    url = value.get("url")
    lead, comma, data = url.partition(",") if isinstance(url, str) else ("", "", "")
    if not (comma and lead.startswith("data:image/") and lead.endswith(";base64")):
        message = f"{at}.image_url.url must be data:image/...;base64,...: nothing is fetched"
        raise unsupported_request(message, at)
    return _decoded(data, at)


def _decoded(text: Any, at: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise bad_request(f"{at} is no base64", at) from None

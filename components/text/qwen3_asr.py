"""Parse an answer of Qwen3-ASR: its language and its text, without runaway repetitions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field

from composer.core.call_signature import OUT
from composer.core.component import Component, ComponentConfig, Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.core.suggest import did_you_mean, listed

if TYPE_CHECKING:
    from composer.core.placement import Placement

LANGUAGES = (
    "Arabic", "Cantonese", "Chinese", "Czech", "Danish", "Dutch",
    "English", "Filipino", "Finnish", "French", "German", "Greek",
    "Hindi", "Hungarian", "Indonesian", "Italian", "Japanese", "Korean",
    "Macedonian", "Malay", "Persian", "Polish", "Portuguese", "Romanian",
    "Russian", "Spanish", "Swedish", "Thai", "Turkish", "Vietnamese",
)  # fmt: skip

TAG = "<asr_text>"
LANGUAGE = "language "
MAX_PATTERN = 20


class Qwen3Asr(Component, name="text.qwen3_asr"):
    """Split `language English<asr_text>Hello.` into its text, `out`, and its `language`.

    With a forced language the whole answer is the text. The language is empty if the answer
    names none, or `None`, as for silence. Runs of one character or pattern of up
    to 20 characters are first cut to one copy, by the rule of the model's own package.
    """

    class Config(ComponentConfig):
        """Which languages may be forced, and what counts as a runaway repetition."""

        languages: list[str] = Field(
            default_factory=lambda: list(LANGUAGES), description="names that may be forced"
        )
        repetitions: int = Field(
            20, ge=2, le=1000, description="a pattern repeated this often in a row is cut to one"
        )

    def __init__(self, config: Config) -> None:
        self.config = config

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        return cls(spec.config)

    @classmethod
    def validate_text(cls, config: Any, port: str, text: str) -> None:
        languages = config.languages
        if port == "language" and text and text not in languages:
            suggestion = did_you_mean(text, languages)
            message = f"'{text}' is not a language of this model"
            raise ComposerError(
                Problem("R527", message, hint=suggestion or f"languages: {listed(languages)}")
            )

    @classmethod
    def partial_text(cls, config: Any, texts: Mapping[str, str], done: bool) -> str:
        answer, forced = texts["text"].strip(), bool(texts.get("language"))
        if done:
            cut = cut_repetitions(answer, config.repetitions)
            return cut if forced and cut else _parse_answer(cut)[OUT]
        certain = _certain_start(answer, config.repetitions)
        if not forced:
            certain = certain.partition(TAG)[2].lstrip()
        return certain.rstrip()

    @method(text="text", language="text", returns={OUT: "text", "language": "text"})
    def __call__(self, text: str, language: str | None = None) -> dict[str, str]:
        self.validate_text(self.config, "language", language or "")
        answer = cut_repetitions(text.strip(), self.config.repetitions)
        if answer and language:
            return {OUT: answer, "language": language}
        return _parse_answer(answer)


def _parse_answer(answer: str) -> dict[str, str]:
    """Split a stripped answer at its first tag; without a tag all of it is the text."""
    meta, tag, text = answer.partition(TAG)
    if not tag:
        return {OUT: answer.strip(), "language": ""}
    return {OUT: text.strip(), "language": _named_language(meta)}


def _named_language(meta: str) -> str:
    """Return the language of the first line that names one; none where any line says none."""
    if f"{LANGUAGE}none" in meta.lower():
        return ""
    for line in map(str.strip, meta.splitlines()):
        if line.lower().startswith(LANGUAGE):
            return line[len(LANGUAGE) :].strip().capitalize()
    return ""


def cut_repetitions(text: str, limit: int, last_start: int | None = None) -> str:
    """Cut repetitions: one character more than `limit` times, or a pattern `limit` times.

    Patterns have 1 to 20 characters, and the shortest that repeats is taken. One that starts after
    `last_start`, 2 * limit characters before the end, stays, as in the model's own package.
    """
    text = _cut_characters(text, limit)
    if last_start is None:
        last_start = len(text) - 2 * limit

    def cut(match: re.Match[str]) -> str:
        return match[1] if match.start() <= last_start else match[0]

    pattern = rf"(.{{1,{MAX_PATTERN}}}?)\1{{{limit - 1},}}"
    return re.sub(pattern, cut, text, flags=re.DOTALL)


def _cut_characters(text: str, limit: int) -> str:
    return re.sub(rf"(.)\1{{{limit},}}", r"\1", text, flags=re.DOTALL)


def _certain_start(text: str, limit: int) -> str:
    """Return the start of a text without repetitions that stays, whatever follows the text.

    A pattern that the text ends with may go on, so that only its first copy is certain. One that
    was repeated often enough may still be too near the end to be cut, or become so.
    """
    certain = len(text)
    repeated = False
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    for size in range(1, min(MAX_PATTERN, len(text) - 1) + 1):
        ends = np.flatnonzero(codes[size:] != codes[:-size])
        start = int(ends[-1]) + 1 if len(ends) else 0
        if start < len(text) - size:
            certain = min(certain, start + size)
        runs = np.diff(ends, prepend=-1, append=len(text) - size) - 1
        repeated |= bool(runs.max() >= size * (limit - 1))
    first = text[:certain]
    if not repeated:
        return first
    last = len(_cut_characters(first, limit)) - 2 * limit
    made = []
    for each in (text, first):
        made += [cut_repetitions(each, limit, end) for end in (last, len(text))]
    alike = takewhile(lambda characters: len({*characters}) == 1, zip(*made, strict=False))
    return "".join(characters[0] for characters in alike)

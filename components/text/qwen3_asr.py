"""Parse an answer of Qwen3-ASR: its language and its text, without runaway repetitions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from composer.core.component import Component, ComponentConfig, Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.core.signature import OUT
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

    @method(text="text", language="text", returns={OUT: "text", "language": "text"})
    def __call__(self, text: str, language: str | None = None) -> dict[str, str]:
        self.validate_text(self.config, "language", language or "")
        answer = cut_repetitions(text.strip(), self.config.repetitions)
        return {OUT: answer, "language": language} if answer and language else parse_answer(answer)


def parse_answer(answer: str) -> dict[str, str]:
    """Split a stripped answer at its first tag; without a tag all of it is the text."""
    meta, tag, text = answer.partition(TAG)
    if not tag:
        return {OUT: answer.strip(), "language": ""}
    language = ""
    if f"{LANGUAGE}none" not in meta.lower():
        lines = (line.strip() for line in meta.splitlines())
        named = (line for line in lines if line.lower().startswith(LANGUAGE))
        language = next(named, "")[len(LANGUAGE) :].strip().capitalize()
    return {OUT: text.strip(), "language": language}


def cut_repetitions(text: str, limit: int) -> str:
    """Cut repetitions: one character more than `limit` times, or a pattern `limit` times.

    Patterns have 1 to 20 characters, the shortest that repeats is taken, and one that starts within
    the last 2 * limit characters stays, as in the model's own package.
    """
    text = re.sub(rf"(.)\1{{{limit},}}", r"\1", text, flags=re.DOTALL)
    last = len(text) - 2 * limit
    pattern = rf"(.{{1,{MAX_PATTERN}}}?)\1{{{limit - 1},}}"
    return re.sub(pattern, lambda m: m[1] if m.start() <= last else m[0], text, flags=re.DOTALL)

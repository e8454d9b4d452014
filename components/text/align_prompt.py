"""The prompt of a forced aligner: audio, then each unit of a text with two marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, field_validator

from composer.core.component import Component, ComponentConfig, Facts, Spec, method
from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import did_you_mean, listed
from composer.formats import tokenizer_bytes, tokenizer_file

from ..checkpoints.file_stamps import StampedFacts, require_unchanged, stamp_files
from .guarded_tokenizer import SOFT_MARK, ForgedToken, GuardedTokenizer
from .japanese import NAME as JAPANESE
from .japanese import japanese_words, require_japanese_tokenizer
from .template import TemplateSlot, parse_template
from .template_encoder import check_template, check_text
from .units import (
    KANA,
    WITHOUT_SPACES,
    AlignmentUnit,
    first_character_in_scripts,
    units,
    units_of_words,
)

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers

SPEECH = "speech"
KOREAN = "Korean"


class AlignPrompt(Component, name="text.align_prompt"):
    """Make a forced aligner's prompt of audio rows and a text, each of whose words has two marks.

    Words are split at white space, and an ideograph is one by itself, but in Korean; those of
    Japanese are nagisa's, of the extra `bundle-composer[japanese]`. Punctuation is left out.
    `ids` has the slot once for each row of `speech`, and `slots` marks these. `marks` are the
    positions at which the network says when a word begins and ends, two for each word, and `spans`
    says from where to where in the text each word stands, its punctuation included.
    """

    requires = frozenset({"files"})

    class Config(ComponentConfig):
        """What stands before the words, what marks their times, and which languages have words."""

        template: str = Field(
            description="What stands before the words, with {speech} where the audio goes.",
            examples=["<|audio_start|>{speech}<|audio_end|>"],
        )
        slot: str = Field(description="The token that stands for a row of audio.")
        mark: str = Field(description="The token that follows each word twice.")
        languages: list[str] = Field(
            default_factory=list, description="Languages that it aligns; none named: any."
        )

        @field_validator("template")
        @classmethod
        def _has_one_slot(cls, template: str) -> str:
            parts = parse_template(check_template(template))
            if [part.name for part in parts if isinstance(part, TemplateSlot)] != [SPEECH]:
                raise ValueError("a template of an aligner has {speech} once, and no other slot")
            return template

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Check that the tokenizer has the slot and the mark."""
        if headers is None or spec.files is None:
            return Facts()
        added = headers.tokenizer(spec.files).added
        problems = []
        for key in ("slot", "mark"):
            token = getattr(spec.config, key)
            if token not in added:
                message = f"the {key} {token!r} is not an added token of {spec.files}"
                hint = did_you_mean(token, added)
                problems.append(Problem("W253", message, Place(f"config.{key}"), hint=hint))
        if problems:
            raise ComposerError(problems)
        return StampedFacts(stamps=stamp_files([tokenizer_file(spec.files, headers.files)]))

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        assert spec.files is not None
        require_unchanged(facts)
        tokenizer = GuardedTokenizer(tokenizer_bytes(tokenizer_file(spec.files)), spec.config.slot)
        return cls(spec.config, tokenizer)

    def __init__(self, config: Config, tokenizer: GuardedTokenizer) -> None:
        self.config = config
        self.tokenizer = tokenizer
        before, after = config.template.split(f"{{{SPEECH}}}")
        self.start = tokenizer.literal(before) + SOFT_MARK + tokenizer.literal(after)
        self.end = tokenizer.literal(config.mark * 2)
        self.slot_id, self.mark_id = map(tokenizer.id_of, (config.slot, config.mark))

    @classmethod
    def validate_text(cls, config: Any, port: str, text: str) -> None:
        if port == "language":
            require_language(config.languages, text)
            if text == JAPANESE:
                require_japanese_tokenizer()
        elif port == "words":
            require_words(check_text(port, text))

    @method(
        speech="N _",
        words="text",
        language="text",
        returns={"ids": "i64 T", "slots": "bool T #speech", "marks": "bool T", "spans": "i64 W 2"},
    )
    def __call__(self, speech: Any, words: str, language: str | None = None) -> dict[str, Any]:
        require_language(self.config.languages, language or "")
        found = split_alignment_units(check_text("words", words), language or "")
        text = self.start + "".join(unit.text + self.end for unit in found)
        try:
            ids = np.array(self.tokenizer.encode(text), np.int64)
        except ForgedToken as error:
            message = f"a text spells the special token {error.token!r}"
            hint = "this tokenizer would encode it as the token: write it differently"
            raise ComposerError(Problem("R522", message, hint=hint)) from error
        repeats = np.where(ids < 0, speech.shape[0], 1)
        slots = np.repeat(ids < 0, repeats)
        ids = np.repeat(np.where(ids < 0, self.slot_id, ids), repeats)
        spans = np.array([(unit.start, unit.end) for unit in found], np.int64)
        return {"ids": ids, "slots": slots, "marks": ids == self.mark_id, "spans": spans}


def require_language(languages: list[str], language: str) -> None:
    """Raise R527 for a language that is not among those that are aligned."""
    if language and languages and language not in languages:
        hint = did_you_mean(language, languages) or f"languages: {listed(languages)}"
        raise ComposerError(
            Problem("R527", f"'{language}' is not aligned by this model", hint=hint)
        )


def split_alignment_units(text: str, language: str) -> list[AlignmentUnit]:
    """Return the units of a text; raise R554 where there are none, or where they are not known."""
    require_words(text)
    if language == JAPANESE:
        return units_of_words(text, japanese_words(text))
    letter = first_character_in_scripts(text, KANA)
    if letter:
        message = f"words in the script of {letter!r} are those of Japanese"
        raise ComposerError(Problem("R554", message, hint=f"name the language: {JAPANESE}"))
    return units(text, ideographs=language != KOREAN)


def require_words(text: str) -> None:
    """Raise R554 for a text without words, or of a script whose words nothing here separates."""
    letter = first_character_in_scripts(text, WITHOUT_SPACES)
    if letter:
        message = f"words in the script of {letter!r} are separated by a dictionary alone"
        hint = "Thai, Lao, Khmer and Burmese are not aligned"
        raise ComposerError(Problem("R554", message, hint=hint))
    if not units(text):
        message = "the text has no word to align: no letter and no number"
        raise ComposerError(Problem("R554", message, hint="give the words that are spoken"))

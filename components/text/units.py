"""The units of a text that are aligned: words, and ideographs one by one.

A unit has the letters, numbers and apostrophes of its word, and nothing else; its span in the text
takes in what was left out around it. The rules are those of Qwen3-ForcedAligner's own package.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

IDEOGRAPHS = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0x2F800, 0x2FA1F),
)  # fmt: skip
KANA = ("HIRAGANA", "KATAKANA")
WITHOUT_SPACES = ("THAI", "LAO", "KHMER", "MYANMAR")


@dataclass(frozen=True)
class AlignmentUnit:
    """What is aligned of a text, and from where to where it stands there, in characters."""

    text: str
    start: int
    end: int


def units(text: str, ideographs: bool = True) -> list[AlignmentUnit]:
    """Split a text at white space and, if so asked, around ideographs.

    What is left out belongs to the unit before it, or to the next one where it follows white space.
    """
    found: list[AlignmentUnit] = []
    opened: int | None = None  # where what belongs to the next unit begins
    open_word = False
    for at, char in enumerate(text):
        if char.isspace():
            open_word = False
            continue
        ideograph = ideographs and is_ideograph(char)
        if not (ideograph or is_word_character(char)):
            touches = bool(found) and found[-1].end == at
            if touches and opened is None:
                found[-1] = replace(found[-1], end=at + 1)
            elif opened is None:
                opened = at
            continue
        if open_word and not ideograph:
            found[-1] = AlignmentUnit(found[-1].text + char, found[-1].start, at + 1)
        else:
            found.append(AlignmentUnit(char, at if opened is None else opened, at + 1))
            opened = None
        open_word = not ideograph
    if opened is not None and found:
        found[-1] = replace(found[-1], end=len(text.rstrip()))
    return found


def is_ideograph(char: str) -> bool:
    """Return whether a character is an ideograph, which is a unit of its own."""
    return any(first <= ord(char) <= last for first, last in IDEOGRAPHS)


def is_word_character(char: str) -> bool:
    """Return whether a character is spoken: a letter, a number, or an apostrophe."""
    return char == "'" or unicodedata.category(char)[0] in "LN"


def units_of_words(text: str, words: list[tuple[str, int, int]]) -> list[AlignmentUnit]:
    """Return the units of words that stand in a text from one place to another.

    A word without anything that is spoken belongs to the unit before it, or to the first.
    """
    found: list[AlignmentUnit] = []
    opened: int | None = None  # where what belongs to the first unit begins
    for word, start, end in words:
        spoken = "".join(filter(is_word_character, word))
        if spoken:
            found.append(AlignmentUnit(spoken, start if opened is None else opened, end))
            opened = None
        elif found and text[start:end].strip():
            found[-1] = replace(found[-1], end=end)
        elif opened is None and text[start:end].strip():
            opened = start
    return found


def first_character_in_scripts(text: str, scripts: tuple[str, ...]) -> str:
    """Return the first letter of some scripts, by the first word of its name; "" without one."""
    for char in text:
        if unicodedata.name(char, "").partition(" ")[0] in scripts:
            return char
    return ""

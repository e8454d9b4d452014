"""What fills a template: texts that are no program's own, and the ids that they come to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import did_you_mean

from .guarded import SOFT, Forged, GuardedTokenizer, reserved
from .template import Part, Template, parse_template

if TYPE_CHECKING:
    from composer.core.location import Location

LONGEST = 1_000_000  # characters of one text: far beyond any context, and still soon tokenized
_LOOKS_SPECIAL = re.compile(r"<\|?[A-Za-z][A-Za-z0-9_]*\|?>|\[/?[A-Z][A-Z0-9_]*\]")


class Filling:
    """A template whose literals a tokenizer has read."""

    def __init__(self, template: Template, tokenizer: GuardedTokenizer) -> None:
        self.template = template
        self.tokenizer = tokenizer
        self.literals = {
            part: tokenizer.literal(part) for part in template.whole if isinstance(part, str)
        }

    def ids(self, parts: tuple[Part, ...], texts: Mapping[str, str]) -> list[int]:
        """Return the ids of literals and texts joined, -1 for each slot that has no text."""
        pieces = [
            self.literals[part] if isinstance(part, str) else texts.get(part.name, SOFT)
            for part in parts
        ]
        length = sum(map(len, pieces))
        if length > LONGEST:
            message = f"the prompt has {length} characters; the limit is {LONGEST}"
            hint = "a text may stand several times in the template: give a shorter one"
            raise ComposerError(Problem("R524", message, hint=hint))
        try:
            return self.tokenizer.encode("".join(pieces))
        except Forged as error:
            message = f"a text spells the special token {error.token!r}"
            hint = "this tokenizer would take it for the token: write it differently"
            raise ComposerError(Problem("R522", message, hint=hint)) from error


def sound(template: str) -> str:
    """Return a template that can be parsed and is text; raise ValueError with what is wrong."""
    parse_template(template)
    for at in reserved(template):
        raise ValueError(f"character {at + 1}, U+{ord(template[at]):04X}, is no text")
    return template


def sound_fragments(optional: Mapping[str, str]) -> None:
    """Raise ValueError where a fragment holds what is no text."""
    for name, text in optional.items():
        for at in reserved(text):
            raise ValueError(f"the optional '{name}' holds U+{ord(text[at]):04X}, no text")


def plain(
    template: Template, added: Collection[str], files: Location, at: str
) -> Iterator[Problem]:
    """Warn of what looks like a special token in a template, and is none."""
    literals = "\n".join(part for part in template.whole if isinstance(part, str))
    for token in dict.fromkeys(_LOOKS_SPECIAL.findall(literals)):
        if token not in added:
            yield Problem(
                "L310",
                f"{token!r} in the template is plain text: {files} has no such token",
                Place(at),
                hint=did_you_mean(token, added),
                severity="warning",
            )


def checked(name: str, text: str) -> str:
    """Return a text that may fill a slot."""
    for at in reserved(text):
        message = f"'{name}' has U+{ord(text[at]):04X} at character {at + 1}, which is no text"
        raise ComposerError(Problem("R523", message))
    if len(text) > LONGEST:
        message = f"'{name}' has {len(text)} characters; a prompt takes {LONGEST} at most"
        raise ComposerError(Problem("R524", message))
    return text


def empty() -> ComposerError:
    """Say that a prompt came to nothing."""
    return ComposerError(Problem("R525", "the prompt is empty: every slot is unfilled"))

"""Encode a filled template: untrusted texts between an author's literals."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import did_you_mean

from .guarded_tokenizer import SOFT_MARK, ForgedToken, GuardedTokenizer, reserved_positions
from .normalizer import is_unchanged
from .template import Part, Template, parse_template

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats.tokenizer import TokenizerInfo

MAX_TEXT = 1_000_000  # characters of one text: far beyond any context, and still soon tokenized
_LOOKS_SPECIAL = re.compile(r"<\|?[A-Za-z][A-Za-z0-9_]*\|?>|\[/?[A-Z][A-Z0-9_]*\]")
_LOOKS_LIKE_JINJA = re.compile(r"\{%-? ?\w+|\{-? [a-z_][\w.]*(\[[^\]\n]*\])? -?\}")


class TemplateEncoder:
    """A template with a tokenizer that encodes it."""

    def __init__(self, template: Template, tokenizer: GuardedTokenizer) -> None:
        self.template = template
        self.tokenizer = tokenizer
        self.literals = {}
        for part in template.all_parts:
            if isinstance(part, str):
                self.literals[part] = tokenizer.literal(part)

    def ids(self, parts: tuple[Part, ...], texts: Mapping[str, str]) -> list[int]:
        """Return the ids of literals and texts joined, -1 for each slot that has no text."""
        pieces = []
        for part in parts:
            if isinstance(part, str):
                pieces.append(self.literals[part])
            else:
                pieces.append(texts.get(part.name, SOFT_MARK))
        length = sum(map(len, pieces))
        if length > MAX_TEXT:
            message = f"the prompt has {length} characters; the limit is {MAX_TEXT}"
            hint = "a text may stand several times in the template: give a shorter one"
            raise ComposerError(Problem("R524", message, hint=hint))
        try:
            return self.tokenizer.encode("".join(pieces))
        except ForgedToken as error:
            message = f"a text spells the special token {error.token!r}"
            hint = "this tokenizer would encode it as the token: write it differently"
            raise ComposerError(Problem("R522", message, hint=hint)) from error


def check_template(template: str) -> str:
    """Return a valid template; raise ValueError otherwise."""
    parse_template(template)
    for at in reserved_positions(template):
        raise ValueError(f"character {at + 1}, U+{ord(template[at]):04X}, is not allowed in text")
    return template


def check_fragments(optional: Mapping[str, str]) -> None:
    """Raise ValueError if a fragment has characters that are not allowed in text."""
    for name, text in optional.items():
        for at in reserved_positions(text):
            raise ValueError(
                f"the optional '{name}' has U+{ord(text[at]):04X}, which is not allowed in text"
            )


def unknown_token_warnings(
    template: Template, added: Collection[str], files: Location, at: str
) -> Iterator[Problem]:
    """Warn of text in a template that looks like a special token but is not one."""
    literals = "\n".join(part for part in template.all_parts if isinstance(part, str))
    if found := _LOOKS_LIKE_JINJA.search(literals):
        yield Problem(
            "L336",
            f"{found[0]!r} in the template stands in the prompt as it is: templates run no code",
            Place(at),
            hint="write the tokens themselves, such as <bos>, and a slot as {name}",
            severity="warning",
        )
    for token in dict.fromkeys(_LOOKS_SPECIAL.findall(literals)):
        if token not in added:
            yield Problem(
                "L310",
                f"{token!r} in the template is plain text: {files} has no such token",
                Place(at),
                hint=did_you_mean(token, added),
                severity="warning",
            )


def changed_token_warnings(
    template: Template, tokenizer: TokenizerInfo, files: Location, at: str
) -> Iterator[Problem]:
    """Warn of tokens in a template that are looked for in normalized text, which changes them."""
    literals = [part for part in template.all_parts if isinstance(part, str)]
    for content, token in tokenizer.added.items():
        if not token.normalized or is_unchanged(tokenizer.normalizer, content):
            continue
        if any(content in each for each in literals):
            yield Problem(
                "L338",
                f"{content!r} in the template is the token {token.id} wherever it stands; other "
                f"runtimes look for it in normalized text, where {files} changes it",
                Place(at),
                hint="compare the ids with those that the model was trained with; in a copy of "
                'tokenizer.json, "normalized": false has all runtimes read it alike',
                severity="warning",
            )


def missing_first_token_warnings(
    template: Template, tokenizer: TokenizerInfo, files: Location, at: str
) -> Iterator[Problem]:
    """Warn where a tokenizer begins every text with a token, and the template does not."""
    first, wanted = template.parts[0], "".join(tokenizer.first)
    if isinstance(first, str) and wanted and not first.startswith(wanted):
        yield Problem(
            "L340",
            f"{files} begins every text with {wanted!r}, and the template does not: composer adds "
            "no token",
            Place(at),
            hint=f"begin the template with {wanted}, if the model was trained so",
            severity="warning",
        )


def check_text(name: str, text: str) -> str:
    """Return a text for a slot; raise ComposerError if it is not allowed."""
    for at in reserved_positions(text):
        found = f"'{name}' has U+{ord(text[at]):04X} at character {at + 1}"
        message = f"{found}, which is not allowed in text"
        raise ComposerError(Problem("R523", message))
    if len(text) > MAX_TEXT:
        message = f"'{name}' has {len(text)} characters; a prompt takes {MAX_TEXT} at most"
        raise ComposerError(Problem("R524", message))
    return text


def empty_prompt_error() -> ComposerError:
    """Return the error for an empty prompt."""
    return ComposerError(Problem("R525", "the prompt is empty: every slot is unfilled"))

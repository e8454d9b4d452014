"""Split Japanese into words, by nagisa, of the extra `bundle-composer[japanese]`."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from importlib.util import find_spec

from composer.core.errors import ComposerError, Problem

NAME = "Japanese"
INSTALL = "pip install 'bundle-composer[japanese]'"
SPACE = "\u3000"  # what nagisa makes of white space


def require_japanese_tokenizer() -> None:
    """Raise R585 where nagisa is not installed."""
    if find_spec("nagisa") is None:
        message = "words of Japanese are separated by nagisa, which is not installed"
        raise ComposerError(Problem("R585", message, hint=INSTALL))


def japanese_words(text: str) -> list[tuple[str, int, int]]:
    """Return the words of a text, normalized as nagisa does, and from where to where each stands.

    Raise R585 where nagisa is not installed, R554 where its words are not those of the text.
    """
    require_japanese_tokenizer()
    import nagisa

    characters = list(_normalized(text))
    found, at = [], 0
    for word in nagisa.tagging(text).words:
        first = at
        for expected in word:
            if at == len(characters) or characters[at][0] != expected:
                message = f"the word {word!r} that nagisa found is not in the text"
                raise ComposerError(Problem("R554", message, hint="write it in other characters"))
            at += 1
        if at > first:
            found.append((word, characters[first][1], characters[at - 1][2]))
    return found


def _normalized(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield each character of a text in NFKC, and which part of the text it is made of."""
    start = 0
    while start < len(text):
        end = start + 1
        while end < len(text) and _joins(text[start:end], text[end]):
            end += 1
        for character in unicodedata.normalize("NFKC", text[start:end]):
            yield SPACE if character == " " else character, start, end
        start = end


def _joins(before: str, character: str) -> bool:
    """Return whether a character becomes one with those before it, as a mark of voicing does."""
    alone = unicodedata.normalize("NFKC", before) + unicodedata.normalize("NFKC", character)
    return unicodedata.normalize("NFKC", before + character) != alone

"""The rules of Voices-in-the-Wild-Bench: words of English, characters of Chinese."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from composer.evaluation.normalizer import Normalizer

CHINESE = {"zh", "cn", "chinese"}


def normalize(text: str, fields: Mapping[str, str]) -> str:
    """Turn punctuation into spaces; lower-case English, separate Chinese characters."""
    if _chinese(fields):
        return " ".join("".join(_without_punctuation(text).split()))
    return _without_punctuation(text.lower())


def _without_punctuation(text: str) -> str:
    """Return a text with a space for each mark of punctuation."""
    found = []
    for character in text:
        is_mark = unicodedata.category(character).startswith("P")
        found.append(" " if is_mark else character)
    return "".join(found)


def _chinese(fields: Mapping[str, str]) -> bool:
    """Return whether a line is Chinese by `subset`, else by `lang` or `language`."""
    subset = fields.get("subset", "").lower()
    for code in ("zh", "en"):
        if f"-{code}-" in subset or subset.endswith(f"-{code}") or subset.startswith(f"{code}-"):
            return code == "zh"
    return fields.get("lang", fields.get("language", "")).lower() in CHINESE


VOICES = Normalizer(
    "vitw",
    "aa4d0d3",
    "Voices-in-the-Wild-Bench at aa4d0d3: WER of English, CER of Chinese",
    normalize,
)

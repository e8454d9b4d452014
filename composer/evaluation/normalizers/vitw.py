"""The rules of Voices-in-the-Wild-Bench: words of English, characters of Chinese."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from composer.evaluation.normalizer import Normalizer

CHINESE = {"zh", "cn", "chinese"}


def normalize(text: str, fields: Mapping[str, str]) -> str:
    """Turn punctuation into spaces; lower-case English, separate Chinese characters."""
    spaced = "".join(" " if unicodedata.category(c).startswith("P") else c for c in text)
    if chinese(fields):
        return " ".join("".join(spaced.split()))
    return "".join(" " if unicodedata.category(c).startswith("P") else c for c in text.lower())


def chinese(fields: Mapping[str, str]) -> bool:
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

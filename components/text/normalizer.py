"""What a tokenizer.json's normalizer does to a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unicodedata import normalize


def is_unchanged(normalizer: Mapping[str, Any] | None, text: str) -> bool:
    """Return whether a normalizer leaves a text as it is; False where that is not known."""
    if normalizer is None:
        return True
    kind = normalizer.get("type")
    if kind == "Sequence":
        return all(is_unchanged(each, text) for each in normalizer.get("normalizers") or ())
    if kind == "Replace":
        pattern = normalizer.get("pattern")
        replaced = pattern.get("String") if isinstance(pattern, dict) else None
        return isinstance(replaced, str) and replaced not in text
    if kind in ("NFC", "NFD", "NFKC", "NFKD"):
        return normalize(kind, text) == text
    if kind == "Lowercase":
        return text.lower() == text
    return kind == "Strip" and text.strip() == text

"""What a tokenizer.json puts before every text by itself."""

from __future__ import annotations

from typing import Any


def leading_special_tokens(processor: Any) -> tuple[str, ...]:
    """Return the tokens that a post-processor puts before a text, by name."""
    if not isinstance(processor, dict):
        return ()
    kind = processor.get("type")
    if kind == "Sequence":
        found: tuple[str, ...] = ()
        for each in _listed(processor.get("processors")):
            found = (*leading_special_tokens(each), *found)
        return found
    if kind in ("BertProcessing", "RobertaProcessing"):
        return tuple(name for name in _listed(processor.get("cls"))[:1] if isinstance(name, str))
    names = []
    for piece in _listed(processor.get("single")):
        special = piece.get("SpecialToken") if isinstance(piece, dict) else None
        name = special.get("id") if isinstance(special, dict) else None
        if not isinstance(name, str):
            break
        names.append(name)
    return tuple(names)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

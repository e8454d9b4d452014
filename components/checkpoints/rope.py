"""Read rotary settings, of which three axes of positions are one, and know their stored angles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from composer.core.errors import Problem
from composer.formats.file_problems import show

KEYS = ("rope_scaling", "rope_parameters")
AXES = ("mrope_section", "mrope_interleaved", "interleaved")
PLAIN = (None, "default", "mrope")
DERIVED = re.compile(r"rotary_emb\.inv_freq$|rope\.inv_freq$")  # angles, which config.json says


def mrope_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Report multi-axis positions that cannot be read as plain ones."""
    for key in KEYS:
        settings: Any = config.get(key)
        if not _has_axes(settings):
            continue
        kind = settings.get("type")
        if kind in PLAIN:
            kind = settings.get("rope_type")
        if kind not in PLAIN:
            yield Problem(
                "W249",
                f"{key} has mrope_section and the type {show(str(kind))}: only plain "
                "positions are the same on every axis",
                hint="an architecture with its own positions needs a component of its own",
            )


def without_mrope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with multi-axis positions read as plain ones.

    M-RoPE turns each section of a head by its own axis of positions. A sequence of text and audio
    has the same position on all axes, and then any interleaving of them is plain RoPE, exactly.
    """
    result = dict(config)
    for key in KEYS:
        if not _has_axes(config.get(key)):
            continue
        rest = dict(config[key])
        for name in AXES:
            rest.pop(name, None)
        for name in ("type", "rope_type"):
            if rest.get(name) == "mrope":
                rest[name] = "default"
        result[key] = rest
    return result


def _has_axes(settings: Any) -> bool:
    return isinstance(settings, dict) and "mrope_section" in settings

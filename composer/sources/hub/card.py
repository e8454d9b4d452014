"""Read what a repository's card states of its licence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError
from composer.core.own_files import write_note
from composer.sources.hub import settings
from composer.sources.hub.listing import read_json
from composer.sources.hub.snapshots import Snapshot
from composer.sources.hub.trouble import is_network

KEYS = ("license", "license_name", "license_link")
LONGEST = 300


@dataclass(frozen=True)
class Card:
    """What a card states, by the card's own keys; `asked` is false where it could not be read."""

    stated: Mapping[str, str] = field(default_factory=dict)
    asked: bool = True


def card_of(snapshot: Snapshot) -> Card:
    """Return a commit's card: from the Hub, or what was read of it before."""
    known = known_card(snapshot)
    if known:
        return known
    url = f"{settings.endpoint()}/api/models/{snapshot.repo}/revision/{snapshot.commit}"
    try:
        said, _ = read_json(url)
    except ComposerError as error:
        if is_network(error):
            return Card(asked=False)
        raise
    stated = _stated(said)
    write_note(_note(snapshot), json.dumps(stated))
    return Card(stated)


def known_card(snapshot: Snapshot) -> Card | None:
    """Return what was read of a commit's card before; None where the Hub would have to be asked."""
    try:
        return Card(_stated(json.loads(_note(snapshot).read_bytes())))
    except (OSError, ValueError):
        return None


def _note(snapshot: Snapshot) -> Path:
    return settings.notes() / settings.folder_name(snapshot.repo) / "cards" / snapshot.commit


def _stated(said: Any) -> dict[str, str]:
    """Return the keys of a licence; how access is granted belongs to it."""
    said = said if isinstance(said, dict) else {}
    card = said.get("cardData", said)
    card = card if isinstance(card, dict) else {}
    found: dict[str, str] = {}
    for key in KEYS:
        value = card.get(key)
        words = value if isinstance(value, list) else [value]
        text = ", ".join(word for word in words if isinstance(word, str))
        if text:
            found[key] = text[:LONGEST]
    gated = said.get("gated")
    if isinstance(gated, str):
        found["gated"] = gated[:LONGEST]
    return found

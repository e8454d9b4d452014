"""Read the licence that a repository's card states."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError
from composer.core.safe_write import write_cache_file
from composer.sources.hub import settings
from composer.sources.hub.errors import is_connection_failure
from composer.sources.hub.listing import fetch_json_page
from composer.sources.hub.snapshots import Snapshot

KEYS = ("license", "license_name", "license_link")
MAX_VALUE = 300


@dataclass(frozen=True)
class LicenceCard:
    """The licence keys of a card; `was_read` is false if it could not be read."""

    stated: Mapping[str, str] = field(default_factory=dict)
    was_read: bool = True


def card_of(snapshot: Snapshot) -> LicenceCard:
    """Return a commit's card, from the Hub or from an earlier read."""
    cached = cached_card(snapshot)
    if cached:
        return cached
    if snapshot.offline:
        return LicenceCard(was_read=False)
    url = f"{settings.endpoint()}/api/models/{snapshot.repo}/revision/{snapshot.commit}"
    try:
        data, _ = fetch_json_page(url)
    except ComposerError as error:
        if is_connection_failure(error):
            return LicenceCard(was_read=False)
        raise
    stated = _stated(data)
    write_cache_file(_note(snapshot), json.dumps(stated))
    return LicenceCard(stated)


def cached_card(snapshot: Snapshot) -> LicenceCard | None:
    """Return a commit's card as read earlier, or None."""
    try:
        return LicenceCard(_stated(json.loads(_note(snapshot).read_bytes())))
    except (OSError, ValueError):
        return None


def _note(snapshot: Snapshot) -> Path:
    return settings.notes_folder() / settings.folder_name(snapshot.repo) / "cards" / snapshot.commit


def _stated(data: Any) -> dict[str, str]:
    """Return the keys of a licence, including how access is granted."""
    if not isinstance(data, dict):
        return {}
    found: dict[str, str] = {}
    card = data.get("cardData", data)
    if not isinstance(card, dict):
        card = {}
    for key in KEYS:
        value = card.get(key)
        words = value if isinstance(value, list) else [value]
        text = ", ".join(word for word in words if isinstance(word, str))
        if text:
            found[key] = text[:MAX_VALUE]
    gated = data.get("gated")
    if isinstance(gated, str):
        found["gated"] = gated[:MAX_VALUE]
    return found

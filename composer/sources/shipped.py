"""Find shipped data: bundles, schemas and error pages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from composer.manifest import read_manifest

CATALOGUE = "catalogue.yaml"
HERE = Path(__file__).resolve().parents[1]


def shipped_folder(folder: str) -> Path:
    """Return a folder of shipped data: inside the installed package, beside it in a checkout."""
    inside = HERE / folder
    checkout = {"pages": HERE.parent / "docs" / "errors"}.get(folder, HERE.parent / folder)
    return inside if inside.is_dir() else checkout


def shipped_bundles() -> dict[str, Path]:
    """Return every shipped manifest by its name."""
    root = shipped_folder("bundles")
    found = {path.parent.name: path for path in root.glob("*/bundle.yaml")}
    found |= {path.stem: path for path in root.glob("*.yaml") if path.name != CATALOGUE}
    return dict(sorted(found.items()))


def published_bundles() -> Mapping[str, tuple[str, ...]]:
    """Return the shipped bundles that cover a repository of the Hub, by its ID in lower case."""
    return _published(tuple(shipped_bundles().items()))


@cache
def _published(bundles: tuple[tuple[str, Path], ...]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, path in bundles:
        for repo in read_manifest(path).publishes:
            found[repo.lower()] = (*found.get(repo.lower(), ()), name)
    return found

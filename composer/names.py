"""Find a bundle by what a user calls it: a path, or the name of one that ships."""

from __future__ import annotations

from pathlib import Path

from composer.errors import ComposerError, Problem
from composer.shipped import shipped_bundles
from composer.suggest import did_you_mean, listed


def find_bundle(name: str | Path) -> Path:
    """Return the manifest's path; raise ComposerError with the nearest names and what was tried."""
    path = Path(name)
    if _exists(path):
        return path
    bundles = shipped_bundles()
    if str(name) in bundles:
        return bundles[str(name)]
    near = did_you_mean(str(name), bundles)
    raise ComposerError(
        Problem(
            "S474",
            f"there is no bundle '{name}': neither a file or folder here nor a shipped bundle",
            hint=near or f"shipped bundles: {listed(bundles)}",
        )
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, or a folder that may not be entered
        return False

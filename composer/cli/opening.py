"""Check the bundle that a command names, and place it as the command's options say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from composer.cli.options import folders, pairs
from composer.cli.printing import reading

if TYPE_CHECKING:
    from composer.bundle import Bundle
    from composer.profile import Profile

DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Choice:
    """A bundle as a command asks for it, from its manifest to where it runs."""

    name: str
    variant: str | None = None
    source: list[str] | None = None
    profile: Path | None = None
    threads: int | None = None
    provider: list[str] | None = None
    device: str | None = None
    precision: list[str] | None = None
    trust: bool = False
    lock: Path | None = None

    def title(self) -> str:
        """Return the bundle's own name, or what it was called where that cannot be read."""
        from composer.errors import ComposerError
        from composer.manifest import read_manifest
        from composer.names import find_bundle

        try:
            found = find_bundle(self.name, self.lock)
            return read_manifest(found.path, self.variant or found.variant).name
        except ComposerError:
            return self.name

    def bundle(self) -> Bundle:
        """Check the bundle and place its components, none of which is loaded yet."""
        from composer.bundle import Bundle
        from composer.checker import check_variant
        from composer.loading import hold_placement
        from composer.names import find_bundle

        profile = self._profile()
        asked = {**profile.precision, **self._precision()}
        sources = folders(self.source)
        with reading(self.name):
            found = find_bundle(self.name, self.lock)
            report = check_variant(found, self.variant, sources=sources, precision=asked)
        checked = report.raise_if_refused()
        hold_placement(checked, profile)
        return Bundle(checked, profile, self.trust)

    def _precision(self) -> dict[str, str]:
        found = pairs(self.precision, "--precision", "COMPONENT=DTYPE")
        for dtype in found.values():
            if dtype not in DTYPES:
                raise typer.BadParameter(f"--precision takes {', '.join(DTYPES)}, not '{dtype}'")
        return found

    def _profile(self) -> Profile:
        """Return the profile of the file, over which the command's own options go."""
        from composer.placement import Placement
        from composer.profile import Profile, read_profile

        if self.device not in (None, "cpu", "gpu"):
            raise typer.BadParameter(f"--device takes cpu or gpu, not '{self.device}'")
        profile = read_profile(self.profile) if self.profile else Profile()
        providers = tuple(self.provider) if self.provider else None
        asked = Placement(providers, self.threads, self.device)
        parts = {name: asked.only(p.given).over(p) for name, p in profile.components.items()}
        return replace(profile, default=asked.over(profile.default), components=parts)

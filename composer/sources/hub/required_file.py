"""A file of the Hub that components read."""

from __future__ import annotations

from dataclasses import dataclass

from composer.sources.hub.snapshots import Snapshot
from composer.sources.hub.tree import HubFile


@dataclass(frozen=True)
class RequiredFile:
    """A file of a snapshot and the components that read it."""

    snapshot: Snapshot
    file: HubFile
    components: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.snapshot.repo}/{self.file.path}"

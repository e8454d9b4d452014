"""A file of the Hub that components read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from composer.sources.hub.snapshots import Snapshot
from composer.sources.hub.tree import HubFile


def total_size(needs: Iterable[RequiredFile]) -> int:
    """Return the bytes of files together."""
    return sum(need.file.size for need in needs)


@dataclass(frozen=True)
class RequiredFile:
    """A file of a snapshot and the components that read it."""

    snapshot: Snapshot
    file: HubFile
    components: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.snapshot.repo}/{self.file.path}"

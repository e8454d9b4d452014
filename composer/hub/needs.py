"""List the files of the Hub that components read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.hub.files import DATA
from composer.hub.snapshots import Snapshot, snapshot_of
from composer.hub.tree import HubFile
from composer.location import Location

if TYPE_CHECKING:
    from composer.checker import Checked
    from composer.checker.graph import Known


@dataclass(frozen=True)
class Need:
    """A file of a snapshot and the components that read it."""

    snapshot: Snapshot
    file: HubFile
    components: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.snapshot.repo}/{self.file.path}"


def _files(known: Known) -> Iterator[Location]:
    """Yield the files that a component opened, and of a place where it opened none, what is there.

    A component that reads headers only when it is loaded opens nothing before.
    """
    yield from known.files
    adapters = (adapter.weights for adapter in known.spec.adapters.values())
    for place in filter(None, (known.spec.weights, known.spec.files, *adapters)):
        if any(f"{file}/".startswith(f"{place}/") for file in known.files):
            continue
        found = snapshot_of(place)
        if found is None:
            continue
        snapshot, path = found
        inside = [
            file for file in snapshot.files if f"{file}/".startswith(f"{path}/" if path else "")
        ]
        for file in inside:
            if DATA.fullmatch(file):
                yield Location(place.source, file, snapshot.root)


def needed(checked: Checked, components: Iterable[str] | None = None) -> list[Need]:
    """Return the files of the Hub that components opened when they were checked, each once."""
    found: dict[tuple[str, str, str], Need] = {}
    for name in checked.known if components is None else components:
        for location in _files(checked.known[name]):
            place = snapshot_of(location)
            if place is None:
                continue
            snapshot, path = place
            if path not in snapshot.files:
                continue
            key = (snapshot.repo, snapshot.commit, path)
            users = (*(found[key].components if key in found else ()), name)
            found[key] = Need(snapshot, snapshot.files[path], users)
    return list(found.values())

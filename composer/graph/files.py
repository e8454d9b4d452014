"""List the files that a component reads, on this machine or on the Hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from composer.core.location import Location
from composer.graph.checked import Checked
from composer.graph.graph import CheckedComponent
from composer.sources.hub import RequiredFile, snapshot_of
from composer.sources.hub.files import DATA


def component_files(checked: CheckedComponent) -> Iterator[Location]:
    """Yield the files that a component opened, and all data of locations where it opened none."""
    yield from checked.files
    adapters = (adapter.weights for adapter in checked.spec.adapters.values())
    for place in filter(None, (checked.spec.weights, checked.spec.files, *adapters)):
        if not any(f"{file}/".startswith(f"{place}/") for file in checked.files):
            yield from files_inside(place)


def files_inside(place: Location) -> Iterator[Location]:
    """Yield the data files of a folder, on this machine or on the Hub, or the one file it is."""
    found = snapshot_of(place)
    if found:
        snapshot, inside = found
        within = inside and f"{inside}/"
        for name in snapshot.files:
            if name == inside:
                yield place
            elif name.startswith(within) and DATA.fullmatch(name):
                yield place / name.removeprefix(within)
    elif place.path and place.path.is_file():
        yield place
    elif place.path:
        for path in sorted(place.path.rglob("*")):
            name = path.relative_to(place.path).as_posix()
            if DATA.fullmatch(name) and path.is_file():
                yield place / name


def required_files(checked: Checked, components: Iterable[str] | None = None) -> list[RequiredFile]:
    """Return the files of the Hub among those that components read, each once."""
    found: dict[tuple[str, str, str], RequiredFile] = {}
    if components is None:
        components = checked.components
    for name in components:
        for location in component_files(checked.components[name]):
            place = snapshot_of(location)
            if place is None or place[1] not in place[0].files:
                continue
            snapshot, path = place
            key = (snapshot.repo, snapshot.commit, path)
            users = found[key].components if key in found else ()
            found[key] = RequiredFile(snapshot, snapshot.files[path], (*users, name))
    return list(found.values())

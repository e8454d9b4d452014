"""Load components, each backend beside the others, and report all that is wrong at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from composer.checker import recheck
from composer.checker.lock_differences import has_trusted_lock, licence_problems, locked_digest
from composer.core.child_process import end_children
from composer.core.component import Component
from composer.core.errors import ComposerError, Problem, in_order
from composer.core.isolation import isolation
from composer.core.location import Location
from composer.core.machine import LOADING, require_address_space
from composer.core.native_failures import describe_error, is_failure
from composer.core.placement import PREPARED, TABLES, Placement
from composer.core.prepared_files import PreparedFiles, keep_prepared_files
from composer.core.problems import Problems
from composer.core.suggest import listed
from composer.core.unknown_names import unknown_name_problems
from composer.graph.files import required_files
from composer.runtime.sandbox import load_in_sandbox, remember_loaded
from composer.runtime.worker import BackendWorker
from composer.sources.hub import download_files, settings
from composer.sources.shipped import shipped_folder

if TYPE_CHECKING:
    from composer.graph.checked import Checked
    from composer.graph.graph import Graph
    from composer.runtime.profile import Profile

ROUNDS = 3
ROOM = 20.0  # GB of disk for prepared files, where the user says nothing


def load_components(
    checked: Checked,
    names: Iterable[str],
    profile: Profile,
    worker: Callable[[str], BackendWorker],
    isolated: bool = False,
) -> Mapping[str, tuple[Component, float]]:
    """Load components by name and return each with the seconds that it took.

    With `isolated` native code that obeys a file runs in a process of its own. An interrupt waits
    for no load.
    """
    names = list(names)
    facts = [checked.components[name].facts for name in names]
    require_address_space(LOADING + sum(each.nbytes for each in facts if each))
    pool = ThreadPoolExecutor(len(names) or 1)
    loaded: dict[str, tuple[Component, float]] = {}
    problems = Problems()
    loading = {}
    for name in names:
        loading[name] = pool.submit(load_component, checked, name, profile, worker, isolated)
    try:
        for name, future in loading.items():
            with problems.collect():
                loaded[name] = future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        end_children()
        raise
    pool.shutdown()
    problems.raise_any()
    return loaded


def load_component(
    checked: Checked,
    name: str,
    profile: Profile,
    worker: Callable[[str], BackendWorker],
    isolated: bool = False,
) -> tuple[Component, float]:
    """Load a component and return it with the seconds that it took; what fails is R504."""
    known, began = checked.components[name], time.perf_counter()
    placement = profile.placement(name, known.cls.placement_keys)
    require_local_files(checked, [name])
    try:
        with (
            isolation(isolated and not _ships(known.spec.weights or known.spec.files)),
            keep_prepared_files(_prepared_files(checked, name, placement)),
        ):
            component = worker(known.cls.backend).call(
                known.cls.load, known.spec, known.facts, placement
            )
        if known.facts:
            known.facts.require_unchanged()  # while it was read, too
    except ComposerError:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        place = checked.manifest.place("components", name, key=True)
        what = describe_error(error)
        message = f"{name} ({known.cls.name}) did not load: {what}"
        raise ComposerError(Problem("R504", message, place)) from error
    return component, time.perf_counter() - began


def _prepared_files(checked: Checked, name: str, placement: Placement) -> PreparedFiles | None:
    """Return where a component keeps what it prepares from files that the user has locked."""
    known, room = checked.components[name], placement.get(PREPARED.name)
    if room is None:
        room = ROOM
    if not (room and PREPARED.name in known.cls.placement_keys and has_trusted_lock(checked)):
        return None
    return PreparedFiles(settings.prepared_folder(), locked_digest(checked, name), int(room * 1e9))


def check_memory_budget(checked: Checked, names: Iterable[str], profile: Profile) -> None:
    """Refuse weights that need more than the profile's memory, before any is read."""
    needs, budget = {}, profile.memory
    for name in names:
        known = checked.components[name]
        whole = profile.placement(name, known.cls.placement_keys).get(TABLES.name) == "loaded"
        if known.facts and known.facts.nbytes:
            needs[name] = known.facts.nbytes + whole * known.facts.mapped
    total = sum(needs.values())
    if budget is not None and total > budget:
        message = (
            f"the weights need {total / 1e9:.3g} GB, and the profile allows {budget / 1e9:.3g}"
        )
        causes = tuple(f"{name}: {count / 1e9:.3g} GB" for name, count in needs.items())
        hint = "choose a smaller variant, or raise memory_gb"
        raise ComposerError(Problem("R505", message, causes=causes, hint=hint))


def require_local_files(checked: Checked, names: Iterable[str]) -> None:
    """Refuse components whose files are not on this machine."""
    problems = []
    for name in names:
        spec = checked.components[name].spec
        adapters = (adapter.weights for adapter in spec.adapters.values())
        for location in (spec.weights, spec.files, *adapters):
            if location and location.path is None:
                place = checked.manifest.place("components", name, key=True)
                message = f"{name} needs {location}, and its source is not on this machine"
                hint = "composer pull fetches it where there is a network, "
                hint += f"--source {location.source}=FOLDER names a copy"
                problems.append(Problem("S473", message, place, hint=hint))
    if problems:
        raise ComposerError(in_order(problems))


def require_every_port_known(checked: Checked, graphs: Iterable[Graph]) -> None:
    """Refuse graphs that cannot be planned: a port is unknown only where files are absent."""
    names: dict[str, None] = {}
    for graph in graphs:
        if not all(value.port for value in graph.values.values()):
            names |= dict.fromkeys(graph.components)
    require_local_files(checked, names)


def fetch_files(checked: Checked, names: Iterable[str]) -> Checked:
    """Download what components read from the Hub, and return the bundle checked with these files.

    What was read from afar is not believed: it is read again here.
    """
    names = list(names)
    for _ in range(ROUNDS):
        if not download_files(required_files(checked, names)).files:
            return checked
        checked = recheck(checked).raise_if_refused()
        if differ := licence_problems(checked, ask=True):
            raise ComposerError(differ)
    message = f"{checked.manifest.name} needs other files each time that it is read"
    raise ComposerError(Problem("S419", message, hint="the server is damaged or hostile"))


def try_untrusted_files(
    checked: Checked, names: Iterable[str], profile: Profile, trust: bool
) -> None:
    """Load what reads files of the Hub in a child process first.

    With `trust` it is noted as tried; what the user has locked needs no trial.
    """
    names = list(names)
    if has_trusted_lock(checked):
        return
    needs = required_files(checked, names)
    if needs and trust:
        remember_loaded(checked, needs)
    elif needs:
        load_in_sandbox(checked, names, needs, profile)


def trusts_files(checked: Checked, trust: bool) -> bool:
    """Return whether the user vouches for all files: by a lock of his own, or by his word."""
    return trust or has_trusted_lock(checked)


def _ships(location: Location | None) -> bool:
    """Return whether a file is part of this package."""
    return bool(
        location and location.path and location.path.is_relative_to(shipped_folder("bundles"))
    )


def check_placement(checked: Checked, profile: Profile) -> None:
    """Refuse a profile that places components that are not there, or by what they do not read."""
    problems = unknown_name_problems("place the component", profile.components, checked.components)
    for name in profile.components.keys() & checked.components.keys():
        kind = checked.components[name].cls
        for key in profile.components[name].given.keys() - kind.placement_keys:
            reads = kind.placement_keys | ({"precision"} & kind.accepts)
            message = f"cannot place '{name}' by '{key}': {kind.name} does not read it"
            problems.append(Problem("R546", message, hint=f"it reads: {listed(sorted(reads))}"))
    read: set[str] = set()
    for known in checked.components.values():
        read |= known.cls.placement_keys
    for key in profile.default.given.keys() - read:
        message = f"nothing in {checked.manifest.name} can be placed by '{key}'"
        problems.append(Problem("R546", message, hint="leave it out for this bundle"))
    if problems:
        raise ComposerError(problems)

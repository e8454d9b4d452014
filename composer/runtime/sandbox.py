"""Load components in a child process first, so that a hostile file crashes only that."""

from __future__ import annotations

import hashlib
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composer.core.child_process import Child, ChildExited, ChildTimeout, load_limits
from composer.core.errors import ComposerError, Problem
from composer.core.safe_write import write_cache_file
from composer.sources.checkpoint import Checkpoint
from composer.sources.hub import settings
from composer.sources.hub.ids import HubId
from composer.sources.hub.required_file import RequiredFile, total_size

if TYPE_CHECKING:
    from composer.graph.checked import Checked
    from composer.runtime.profile import Profile

SECONDS = 300.0  # to load, beside what reading takes
MODULE = "composer.runtime.sandbox_child"
MEMORY_GONE = 77  # the status of a child that had too little
TIME_GONE = -signal.SIGXCPU


def load_in_sandbox(
    checked: Checked, names: Iterable[str], needs: Iterable[RequiredFile], profile: Profile
) -> None:
    """Load the components that read files of the Hub in a child, once per content of the files.

    Raise S454 if the child crashes, and S455 if it exceeds its limits of memory, processor time or
    wall clock; both name the component. A ComposerError of the child is raised as it is.
    """
    needs = list(needs)
    if _note(checked, needs).exists() or not sys.executable:
        return
    readers = set(chain.from_iterable(need.components for need in needs))
    tried = [name for name in dict.fromkeys(names) if name in readers]
    if _load_in_child(checked, tried, _request(checked, tried, needs, profile)):
        remember_loaded(checked, needs)


def remember_loaded(checked: Checked, needs: list[RequiredFile]) -> None:
    """Record that these files were loaded in a child."""
    write_cache_file(_note(checked, needs))


def _load_in_child(checked: Checked, tried: list[str], request: Mapping[str, Any]) -> bool:
    """Load components in a child; return whether it knows all kinds of components."""
    until = time.monotonic() + request["seconds"]
    child, name = Child(MODULE, request["memory"], request["seconds"]), tried[0]
    questions: list[tuple[str, dict[str, Any]]] = [(name, {"request": request})]
    questions += [(each, {"load": each}) for each in tried]
    problems: list[Problem] = []
    try:
        for each, question in questions:
            name = each
            answer, _ = child.ask(question, {}, until - time.monotonic())
            problems = [Problem.unpacked(entry) for entry in answer.get("problems", ())]
            if problems:
                break
    except ChildTimeout:
        raise _refused(checked, name, f"took longer than {request['seconds']:.0f} s") from None
    except ChildExited as error:
        if error.status == TIME_GONE:
            what = f"took longer than {request['seconds']:.0f} s"
            raise _refused(checked, name, what) from None
        if error.status == MEMORY_GONE:
            what = f"needs more than {request['memory'] / 1e9:.3g} GB of memory"
            raise _refused(checked, name, what) from None
        raise _crashed(checked, name, str(error)) from None
    finally:
        child.end()
    if problems and all(problem.code == "W212" for problem in problems):
        return False  # a kind that was registered in this process only
    if problems:
        raise ComposerError(problems)
    return True


def _refused(checked: Checked, name: str, what: str) -> ComposerError:
    message = f"{_called(checked, name)} {what} while {_read(checked, name)} was loaded"
    hint = "composer pull --trust spares it this trial, if you trust where it comes from"
    return _located(checked, name, "S455", message, hint)


def _crashed(checked: Checked, name: str, how: str) -> ComposerError:
    message = f"{_called(checked, name)} crashed while {_read(checked, name)} was loaded ({how})"
    hint = "a file is damaged or hostile; nothing was loaded in this process"
    return _located(checked, name, "S454", message, hint)


def _located(checked: Checked, name: str, code: str, message: str, hint: str) -> ComposerError:
    place = checked.manifest.place("components", name, key=True)
    return ComposerError(Problem(code, message, place, hint=hint))


def _called(checked: Checked, name: str) -> str:
    return f"{name} ({checked.components[name].cls.name})"


def _read(checked: Checked, name: str) -> str:
    spec = checked.components[name].spec
    return str(spec.weights or spec.files)


def _request(
    checked: Checked, tried: list[str], needs: list[RequiredFile], profile: Profile
) -> dict[str, Any]:
    request = checked.request
    own = request.bundle.repository
    backends, loaded = {}, 0
    for name, known in checked.components.items():
        loaded += known.facts.nbytes if known.facts else 0
        if known.is_family:
            backends[name] = known.backend
    memory, seconds = load_limits(max(total_size(needs), loaded), SECONDS)
    placements = {}
    for name in tried:
        keys = checked.components[name].cls.placement_keys
        placements[name] = profile.placement(name, keys).given
    return {
        "path": str(request.bundle.path),
        "repository": f"{own.repo}@{own.commit}" if own else None,
        "checkpoint": _checkpoint(request.bundle.checkpoint),
        "variant": request.variant or request.bundle.variant,
        "sources": {name: str(folder) for name, folder in request.sources.items()},
        "precision": {name: asdict(asked) for name, asked in request.precision.items()},
        "backends": backends,
        "placements": placements,
        "components": tried,
        "commits": _commits(checked, needs),
        "memory": memory,
        "seconds": seconds,
    }


def _checkpoint(found: Checkpoint | None) -> dict[str, Any] | None:
    """Describe what a default manifest was found for, as `sandbox_child` reads it."""
    if found is None:
        return None
    is_remote = isinstance(found.folder, HubId)
    folder = {"folder": str(found.folder), "is_remote": is_remote}
    return folder | {"file": found.file, "mmproj": found.mmproj}


def _commits(checked: Checked, needs: list[RequiredFile]) -> dict[str, str]:
    """Return the commits that the child reads of repositories, by every ID that it may ask for."""
    bundle = checked.request.bundle
    snapshots = [need.snapshot for need in needs]
    if bundle.repository:
        snapshots.append(bundle.repository)
    ids = []
    for source in checked.manifest.sources.values():
        if source.kind == "hf":
            ids.append(HubId(source.value, source.revision))
    if bundle.checkpoint and isinstance(bundle.checkpoint.folder, HubId):
        ids.append(bundle.checkpoint.folder)
    commits = {}
    for snapshot in snapshots:
        commits[f"{snapshot.repo}@{snapshot.commit}"] = snapshot.commit
        for id in ids:
            if id.repo == snapshot.repo:
                commits[str(id)] = snapshot.commit
    return commits


def _note(checked: Checked, needs: list[RequiredFile]) -> Path:
    """Return the path of the note for these files and the components that read them."""
    parts = [version("bundle-composer"), str(checked.manifest.variant)]
    parts += sorted(f"{','.join(need.components)} {need.file.digest}" for need in needs)
    parts += sorted(f"{name} {known.cls.name}" for name, known in checked.components.items())
    digest = hashlib.sha256("\n".join(parts).encode())
    digest.update(checked.manifest.path.read_bytes())
    return settings.notes_folder() / "probed" / digest.hexdigest()

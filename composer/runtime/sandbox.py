"""Load components in a child process first, so that a hostile file crashes only that."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from composer.core.child import child_environment, how_ended, load_limits
from composer.core.errors import ComposerError, Problem
from composer.core.safe_write import write_note
from composer.sources.hub import settings
from composer.sources.hub.ids import HubId
from composer.sources.hub.required_file import RequiredFile

if TYPE_CHECKING:
    from composer.graph.checked import Checked
    from composer.runtime.profile import Profile

SECONDS = 300.0  # to load, beside what reading takes
COMMAND = ("-P", "-m", "composer.runtime.sandbox_child")
GRACE = 30.0  # seconds to exit after the last message
MOST_OUTPUT = 1_000_000
MEMORY_GONE = 77
NO_MEMORY = (
    "MemoryError",
    "bad_alloc",
    "bad allocation",
    "Unable to allocate",
    "Failed to allocate",
)


def probe(
    checked: Checked, names: Iterable[str], needs: Iterable[RequiredFile], profile: Profile
) -> None:
    """Load the components that read files of the Hub in a child, once per content of the files.

    Raise S454 if the child crashes, and S455 if it exceeds its limits of memory, processor time or
    wall clock; both name the component. A ComposerError of the child is raised as it is.
    """
    needs = list(needs)
    if _note(checked, needs).exists() or not sys.executable:
        return
    users = {user for need in needs for user in need.components}
    tried = [name for name in dict.fromkeys(names) if name in users]
    if _load_in_child(checked, tried, _request(checked, tried, needs, profile)):
        remember(checked, needs)


def remember(checked: Checked, needs: list[RequiredFile]) -> None:
    """Record that these files were loaded in a child."""
    write_note(_note(checked, needs))


def _load_in_child(checked: Checked, tried: list[str], request: Mapping[str, Any]) -> bool:
    """Load components in a child; return whether it knows all kinds of components."""
    child = subprocess.Popen(
        [sys.executable, *COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=child_environment() | {"HF_HUB_OFFLINE": "1"},
    )
    assert child.stdin
    assert child.stdout
    timed_out = threading.Event()

    def stop() -> None:
        timed_out.set()
        child.kill()

    timer = threading.Timer(request["seconds"], stop)
    timer.start()
    try:
        try:
            child.stdin.write(json.dumps(request).encode())
            child.stdin.close()
        except BrokenPipeError:
            pass  # it has already ended; the reason is reported below
        at, problems, done = _read_messages(child.stdout)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
    finally:
        timer.cancel()
        child.kill()
        child.wait()
        child.stdout.close()
    if problems and all(problem.code == "W212" for problem in problems):
        return False  # a kind that was registered in this process only
    if problems:
        raise ComposerError(problems)
    if done:
        return True
    name = at if at in tried else tried[0]
    return _raise_refused(checked, name, child.returncode, timed_out.is_set(), request)


def _read_messages(lines: IO[bytes]) -> tuple[str | None, list[Problem], bool]:
    """Return the component loaded last, the problems, and whether all were loaded."""
    at, problems, total = None, [], 0
    while line := lines.readline(MOST_OUTPUT):
        total += len(line)
        if total > MOST_OUTPUT:
            break
        try:
            message = json.loads(line)
        except ValueError:
            continue  # output of a library
        if not isinstance(message, dict):
            continue
        if "loading" in message:
            at = str(message["loading"])
        elif "problems" in message:
            problems = [Problem.unpacked(entry) for entry in message["problems"]]
        elif message.get("done") is True:
            return at, problems, True
    return at, problems, False


def _raise_refused(
    checked: Checked, name: str, status: int, timed_out: bool, request: Mapping[str, Any]
) -> NoReturn:
    known = checked.components[name]
    place = checked.manifest.place("components", name, key=True)
    where = str(known.spec.weights or known.spec.files)
    if timed_out or status in (-24, 152):  # SIGXCPU
        what = f"took longer than {request['seconds']:.0f} s"
    elif status == MEMORY_GONE:
        what = f"needs more than {request['memory'] / 1e9:.3g} GB of memory"
    else:
        crashed = f"crashed while {where} was loaded ({how_ended(status)})"
        message = f"{name} ({known.cls.name}) {crashed}"
        hint = "a file is damaged or hostile; nothing was loaded in this process"
        raise ComposerError(Problem("S454", message, place, hint=hint))
    message = f"{name} ({known.cls.name}) {what} while {where} was loaded"
    hint = "composer pull --trust spares it this trial, if you trust where it comes from"
    raise ComposerError(Problem("S455", message, place, hint=hint))


def _request(
    checked: Checked, tried: list[str], needs: list[RequiredFile], profile: Profile
) -> dict[str, Any]:
    request, read = checked.request, sum(need.file.size for need in needs)
    loaded = sum(known.facts.nbytes for known in checked.components.values() if known.facts)
    memory, seconds = load_limits(max(read, loaded), SECONDS)
    families = {name: known for name, known in checked.components.items() if known.is_family}
    pins = {f"{need.snapshot.repo}@{need.snapshot.commit}": need.snapshot for need in needs}
    own = request.bundle.repository
    if own:
        pins[f"{own.repo}@{own.commit}"] = own
    commits = {text: each.commit for text, each in pins.items()}
    for source in checked.manifest.sources.values():
        for each in pins.values():
            if source.kind == "hf" and source.value == each.repo:
                commits[str(HubId(source.value, source.revision))] = each.commit
    return {
        "path": str(request.bundle.path),
        "repository": f"{own.repo}@{own.commit}" if own else None,
        "variant": request.variant or request.bundle.variant,
        "sources": {name: str(folder) for name, folder in request.sources.items()},
        "precision": dict(request.precision),
        "backends": {name: known.backend for name, known in families.items()},
        "placements": {
            name: profile.placement(name, checked.components[name].cls.placement_keys).given
            for name in tried
        },
        "components": tried,
        "commits": commits,
        "memory": memory,
        "seconds": seconds,
    }


def _note(checked: Checked, needs: list[RequiredFile]) -> Path:
    """Return the path of the note for these files and the components that read them."""
    parts = [version("bundle-composer"), str(checked.manifest.variant)]
    parts += sorted(f"{','.join(need.components)} {need.file.digest}" for need in needs)
    parts += sorted(f"{name} {known.cls.name}" for name, known in checked.components.items())
    digest = hashlib.sha256("\n".join(parts).encode())
    digest.update(checked.manifest.path.read_bytes())
    return settings.notes() / "probed" / digest.hexdigest()

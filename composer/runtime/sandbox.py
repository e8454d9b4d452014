"""Load components in a child process first: what crashes or eats the machine does it there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from composer.core.errors import ComposerError, Problem
from composer.core.own_files import write_note
from composer.sources.hub import settings
from composer.sources.hub.ids import HubId
from composer.sources.hub.required_file import RequiredFile

if TYPE_CHECKING:
    from composer.graph.checked import Checked
    from composer.runtime.profile import Profile

MEMORY = 4 * 10**9  # bytes, beside three times the weights
SECONDS = 300.0  # beside a second for so many bytes
PACE = 20_000_000
COMMAND = ("-P", "-m", "composer.runtime.sandbox_child")
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # who asks no network needs none
GRACE = 30.0  # seconds to end in, after the last word
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
    """Load the components that read files of the Hub in a child, once for these very files.

    Raise S454 where the child crashes and S455 where it exceeds its limits of memory, processor
    time or wall clock; each names the component. What it refuses is raised as it is.
    """
    needs = list(needs)
    if _note(checked, needs).exists() or not sys.executable:
        return
    users = {user for need in needs for user in need.components}
    tried = [name for name in dict.fromkeys(names) if name in users]
    if _try(checked, tried, _request(checked, tried, needs, profile)):
        remember(checked, needs)


def remember(checked: Checked, needs: list[RequiredFile]) -> None:
    """Note that these very files need no child any more."""
    write_note(_note(checked, needs))


def limits(nbytes: int) -> tuple[int, float]:
    """Return the memory in bytes and the seconds that weights of a size may take to load."""
    return MEMORY + 3 * nbytes, SECONDS + nbytes / PACE


def _try(checked: Checked, tried: list[str], request: Mapping[str, Any]) -> bool:
    """Load components in a child; tell whether it could."""
    environment = {name: said for name, said in os.environ.items() if name not in TOKENS}
    environment["HF_HUB_OFFLINE"] = "1"
    child = subprocess.Popen(
        [sys.executable, *COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    assert child.stdin
    assert child.stdout
    late = threading.Event()

    def end() -> None:
        late.set()
        child.kill()

    timer = threading.Timer(request["seconds"], end)
    timer.start()
    try:
        try:
            child.stdin.write(json.dumps(request).encode())
            child.stdin.close()
        except BrokenPipeError:
            pass  # it ended already, and how is told below
        at, problems, done = _follow(child.stdout)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
    finally:
        timer.cancel()
        child.kill()
        child.wait()
        child.stdout.close()
    if problems and all(problem.code == "W212" for problem in problems):
        return False  # a kind of component that was added by hand is known in this process alone
    if problems:
        raise ComposerError(problems)
    if done:
        return True
    name = at if at in tried else tried[0]
    return _refused(checked, name, child.returncode, late.is_set(), request)


def _follow(lines: IO[bytes]) -> tuple[str | None, list[Problem], bool]:
    """Return the component that was loaded last, what was refused, and whether all is well."""
    at, problems, total = None, [], 0
    while line := lines.readline(MOST_OUTPUT):
        total += len(line)
        if total > MOST_OUTPUT:
            break
        try:
            said = json.loads(line)
        except ValueError:
            continue  # what a library prints
        if not isinstance(said, dict):
            continue
        if "loading" in said:
            at = str(said["loading"])
        elif "problems" in said:
            problems = [Problem.unpacked(entry) for entry in said["problems"]]
        elif said.get("done") is True:
            return at, problems, True
    return at, problems, False


def _refused(
    checked: Checked, name: str, status: int, late: bool, request: Mapping[str, Any]
) -> NoReturn:
    known = checked.components[name]
    place = checked.manifest.place("components", name, key=True)
    where = str(known.spec.weights or known.spec.files)
    if late or status in (-24, 152):  # SIGXCPU
        what = f"took longer than {request['seconds']:.0f} s"
    elif status == MEMORY_GONE:
        what = f"needs more than {request['memory'] / 1e9:.3g} GB of memory"
    else:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        message = f"{name} ({known.cls.name}) crashed while {where} was loaded ({how})"
        hint = "a file is damaged or hostile; nothing was loaded in this process"
        raise ComposerError(Problem("S454", message, place, hint=hint))
    message = f"{name} ({known.cls.name}) {what} while {where} was loaded"
    hint = "composer pull --trust spares it this trial, if you trust where it comes from"
    raise ComposerError(Problem("S455", message, place, hint=hint))


def _request(
    checked: Checked, tried: list[str], needs: list[RequiredFile], profile: Profile
) -> dict[str, Any]:
    asked, read = checked.request, sum(need.file.size for need in needs)
    loaded = sum(known.facts.nbytes for known in checked.components.values() if known.facts)
    memory, seconds = limits(max(read, loaded))
    families = {name: known for name, known in checked.components.items() if known.is_family}
    pins = {f"{need.snapshot.repo}@{need.snapshot.commit}": need.snapshot for need in needs}
    own = asked.bundle.repository
    if own:
        pins[f"{own.repo}@{own.commit}"] = own
    commits = {text: each.commit for text, each in pins.items()}
    for source in checked.manifest.sources.values():
        for each in pins.values():
            if source.kind == "hf" and source.value == each.repo:
                commits[str(HubId(source.value, source.revision))] = each.commit
    return {
        "path": str(asked.bundle.path),
        "repository": f"{own.repo}@{own.commit}" if own else None,
        "variant": asked.variant or asked.bundle.variant,
        "sources": {name: str(folder) for name, folder in asked.sources.items()},
        "precision": dict(asked.precision),
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
    """Return what stands for the very files, and for who reads them."""
    said = [version("bundle-composer"), str(checked.manifest.variant)]
    said += sorted(f"{','.join(need.components)} {need.file.digest}" for need in needs)
    said += sorted(f"{name} {known.cls.name}" for name, known in checked.components.items())
    digest = hashlib.sha256("\n".join(said).encode())
    digest.update(checked.manifest.path.read_bytes())
    return settings.notes() / "probed" / digest.hexdigest()

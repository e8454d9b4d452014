"""Load components under limits, as the child process of `composer.runtime.sandbox`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from composer.checker import check_variant
from composer.core import registry
from composer.core.child import limit_process
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.runtime.loading import load_components
from composer.runtime.profile import Profile
from composer.runtime.sandbox import MEMORY_GONE, NO_MEMORY
from composer.runtime.worker import Worker
from composer.sources.hub import Hub, parse_id
from composer.sources.resolve import ResolvedBundle


def child() -> int:
    """Load what stdin asks for under its limits, telling each step on stdout as a line of JSON."""
    request = json.load(sys.stdin.buffer)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def send(**message: Any) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    limit_process(request["memory"], request["seconds"])
    try:
        _load(request, send)
    except MemoryError:
        return MEMORY_GONE
    except ComposerError as error:
        if any(sign in str(error) for sign in NO_MEMORY):
            return MEMORY_GONE
        send(problems=[problem.packed() for problem in error.problems])
        return error.exit_code
    send(done=True)
    return 0


def _load(request: Mapping[str, Any], send: Any) -> None:
    hub, own = Hub(), request["repository"]
    for text, commit in request["commits"].items():
        hub.pin(parse_id(text), commit)
    sources = {name: Path(folder) for name, folder in request["sources"].items()}
    found = check_variant(
        ResolvedBundle(
            Path(request["path"]), repository=hub.snapshot(parse_id(own)) if own else None, hub=hub
        ),
        request["variant"],
        sources=sources,
        precision=request["precision"],
        backends=request["backends"],
    )
    checked = found.raise_if_refused()
    placed = {name: Placement(**given) for name, given in request["placements"].items()}
    workers: dict[str, Worker] = {}

    def worker(backend: str) -> Worker:
        return workers.setdefault(backend, Worker(registry.backend(backend)))

    for name in request["components"]:
        send(loading=name)
        load_components(checked, [name], Profile(components=placed), worker)


if __name__ == "__main__":
    code = child()
    sys.stdout.flush()
    os._exit(code)  # threads of a backend do not hold up the answer

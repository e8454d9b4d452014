"""Load components under limits, as the child process of `composer.runtime.sandbox`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from composer.checker import check_variant
from composer.core import registry
from composer.core.child_process import answer_questions
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.manifest.recipes import PrecisionChange
from composer.runtime.loading import load_component
from composer.runtime.profile import Profile
from composer.runtime.sandbox import MEMORY_GONE
from composer.runtime.worker import BackendWorker
from composer.sources.checkpoint import Checkpoint
from composer.sources.hub import Hub, parse_id
from composer.sources.resolve import ResolvedBundle

NO_MEMORY = (
    "MemoryError",
    "bad_alloc",
    "bad allocation",
    "Unable to allocate",
    "Failed to allocate",
)
_loaders: list[Callable[[str], Any]] = []


def _answer(
    words: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Check the bundle of a request first, and load one of its components by each later question.

    A panic of a native library is no problem of a file: it ends this process.
    """
    try:
        if "request" in words:
            _loaders[:] = [_loader(words["request"])]
        else:
            _loaders[0](words["load"])
    except MemoryError:
        os._exit(MEMORY_GONE)
    except ComposerError as error:
        if any(sign in str(error) for sign in NO_MEMORY):
            os._exit(MEMORY_GONE)
        if error.__cause__ is not None and not isinstance(error.__cause__, Exception):
            raise
        return {"problems": [problem.packed() for problem in error.problems]}, {}
    return {}, {}


def _checkpoint(found: Mapping[str, Any] | None) -> Checkpoint | None:
    """Return what a default manifest was found for."""
    if found is None:
        return None
    folder = parse_id(found["folder"]) if found["is_remote"] else Path(found["folder"])
    return Checkpoint(folder, found["file"], found["mmproj"])


def _loader(request: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return what loads a component of the requested bundle by its name."""
    hub, own = Hub(), request["repository"]
    for text, commit in request["commits"].items():
        hub.pin_commit(parse_id(text), commit)
    found = check_variant(
        ResolvedBundle(
            Path(request["path"]),
            repository=hub.snapshot(parse_id(own)) if own else None,
            hub=hub,
            checkpoint=_checkpoint(request["checkpoint"]),
        ),
        request["variant"],
        sources={name: Path(folder) for name, folder in request["sources"].items()},
        precision={
            name: PrecisionChange.read(asked) for name, asked in request["precision"].items()
        },
        backends=request["backends"],
    )
    placed = {name: Placement(**given) for name, given in request["placements"].items()}
    workers: dict[str, BackendWorker] = {}

    def worker(backend: str) -> BackendWorker:
        return workers.setdefault(backend, BackendWorker(registry.backend(backend)))

    return partial(
        load_component,
        found.raise_if_refused(),
        profile=Profile(components=placed),
        worker=worker,
    )


if __name__ == "__main__":
    answer_questions(_answer)

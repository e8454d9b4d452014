"""The bundles that a server has loaded, by the names that clients use."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed
from composer.jobs.aligner import Aligner, aligner_of
from composer.jobs.progress import JobProgress, OnProgress, no_progress
from composer.jobs.speech import speech_task
from composer.runtime.bundle import Bundle
from composer.server.errors import ApiError

OWNER = "composer"


@dataclass(frozen=True)
class ServedModel:
    """A bundle under the name that clients call it by."""

    name: str
    bundle: Bundle
    created: int = field(default_factory=lambda: int(time.time()))

    @cached_property
    def aligner(self) -> Aligner | None:
        """The task that says when words are spoken; None where the bundle has none."""
        try:
            return aligner_of(self.bundle)
        except ComposerError:
            return None

    @cached_property
    def transcribes(self) -> bool:
        """Whether a task makes text of audio alone."""
        try:
            speech_task(self.bundle, None, {}, {})
        except ComposerError:
            return False
        return True

    def model_entry(self) -> dict[str, Any]:
        """Return it as `/v1/models` lists it."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": OWNER,
            "tasks": self.bundle.tasks,
            "transcribes": self.transcribes,
            "aligns": self.aligner is not None,
        }


class ServedModels:
    """All bundles that are served."""

    def __init__(self, served: Iterable[ServedModel]) -> None:
        self._by_name: dict[str, ServedModel] = {}
        for each in served:
            if each.name in self._by_name:
                hint = "give one another name: composer serve NAME=BUNDLE"
                problem = Problem("R542", f"two bundles are named {each.name}", hint=hint)
                raise ComposerError(problem)
            self._by_name[each.name] = each

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._by_name.values())

    @property
    def names(self) -> list[str]:
        """Return the names of all."""
        return list(self._by_name)

    def __getitem__(self, name: str) -> ServedModel:
        """Return the model of a name; raise ApiError 404 where there is none."""
        if name not in self._by_name:
            message = f"there is no model '{name}'; this server has {listed(self.names)}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return self._by_name[name]

    @property
    def aligner(self) -> Aligner | None:
        """Return the first aligner that is served."""
        return next((each.aligner for each in self if each.aligner), None)

    def load(self, progress: OnProgress = no_progress) -> None:
        """Download what is not here, and load every task of every bundle."""
        for each in self:
            progress(JobProgress("fetching", each.name))
            each.bundle.fetch()
            progress(JobProgress("loading", each.name))
            each.bundle.load()

    def close(self) -> None:
        """Close every bundle."""
        with ExitStack() as stack:
            for each in self:
                stack.callback(each.bundle.close)

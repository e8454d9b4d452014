"""A checked bundle: the request, its components and graphs, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from composer.core.errors import ComposerError, Problem, errors_of
from composer.graph.graph import CheckedComponent, Graph
from composer.manifest import Manifest
from composer.manifest.recipes import PrecisionChange
from composer.sources.lock import BundleLock
from composer.sources.resolve import ResolvedBundle


@dataclass(frozen=True)
class CheckRequest:
    """The arguments of a check: a bundle, a variant, folders for sources, precisions and backends.

    `precision` and `backends` are by component; a backend under `*` is for all that have it.
    """

    bundle: ResolvedBundle
    variant: str | None = None
    sources: Mapping[str, Path] = field(default_factory=dict)
    precision: Mapping[str, PrecisionChange] = field(default_factory=dict)
    backends: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checked:
    """A checked bundle in one of its variants: components by name, graphs by task."""

    manifest: Manifest
    components: Mapping[str, CheckedComponent]
    graphs: Mapping[str, Graph]
    request: CheckRequest = field(repr=False, compare=False)
    lock: BundleLock | None = field(default=None, repr=False)


@dataclass(frozen=True)
class CheckResult:
    """The result of a check: problems in file order, and the bundle if it could be read."""

    problems: tuple[Problem, ...]
    bundle: Checked | None = None

    @property
    def ok(self) -> bool:
        """Return whether there are no errors."""
        return not errors_of(self.problems)

    def raise_if_refused(self) -> Checked:
        """Return the bundle; raise ComposerError with every error when it is refused."""
        if self.bundle is None or not self.ok:
            raise ComposerError(errors_of(self.problems))
        return self.bundle

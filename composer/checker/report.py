"""Check a bundle whole: its text, its files' headers and its wiring, without loading a weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from composer.checker.facts import ask_components
from composer.checker.graph import Graph, Known
from composer.checker.sources import resolve_sources
from composer.checker.wiring import wire
from composer.errors import ComposerError, Problem, in_order
from composer.lock import Lock, differences, read_lock
from composer.manifest import Manifest, read_manifest
from composer.names import Found, find_bundle


@dataclass(frozen=True)
class Asked:
    """What a check was asked: a bundle, a variant, folders for sources, and precisions."""

    bundle: Found
    variant: str | None = None
    sources: Mapping[str, Path] = field(default_factory=dict)
    precision: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checked:
    """What is known of a bundle in one of its variants: components by name, graphs by task."""

    manifest: Manifest
    known: Mapping[str, Known]
    graphs: Mapping[str, Graph]
    asked: Asked = field(repr=False, compare=False)
    lock: Lock | None = field(default=None, repr=False)

    def again(self) -> Report:
        """Check the same once more, as after files came that had been read from afar."""
        asked = self.asked
        return check_variant(
            asked.bundle, asked.variant, sources=asked.sources, precision=asked.precision
        )


@dataclass(frozen=True)
class Report:
    """The verdict on a bundle: its problems in file order, and the bundle itself where readable."""

    problems: tuple[Problem, ...]
    bundle: Checked | None = None

    @property
    def ok(self) -> bool:
        """Tell whether nothing but warnings was found."""
        return not any(problem.severity == "error" for problem in self.problems)

    def raise_if_refused(self) -> Checked:
        """Return the bundle; raise ComposerError with every error when it is refused."""
        if self.bundle is None or not self.ok:
            raise ComposerError(p for p in self.problems if p.severity == "error")
        return self.bundle


def check(
    path: str | Path | Found,
    *,
    variant: str | None = None,
    sources: Mapping[str, Path] | None = None,
    precision: Mapping[str, str] | None = None,
) -> Report:
    """Check a bundle, by path, name or hub ID, in one variant, or as it stands and in each.

    Files of the Hub that are not here are read from afar, their headers alone. `sources` gives
    folders that stand in for sources; `precision` overrides components' own.
    """
    first = check_variant(path, variant, sources=sources, precision=precision)
    if first.bundle is None or first.bundle.manifest.variant is not None:
        return first
    known = set(map(str, first.problems))
    problems = list(first.problems)
    for name in first.bundle.manifest.variants:
        found = check_variant(path, name, sources=sources, precision=precision).problems
        problems += [
            replace(problem, message=f"in the variant '{name}': {problem.message}")
            for problem in found
            if str(problem) not in known
        ]
    return replace(first, problems=in_order(problems))


def check_variant(
    path: str | Path | Found,
    variant: str | None,
    *,
    sources: Mapping[str, Path] | None = None,
    precision: Mapping[str, str] | None = None,
) -> Report:
    """Check one variant, or with None the manifest as it stands and no variant."""
    try:
        bundle = find_bundle(path)
        manifest = read_manifest(bundle.path, variant or bundle.variant)
        lock = read_lock(bundle.lock) if bundle.lock else None
    except ComposerError as error:
        return Report(error.problems)
    roots, problems = resolve_sources(manifest, sources, lock.commits if lock else None)
    known, found = ask_components(manifest, roots, precision or {})
    problems += found
    graphs = {}
    for task in manifest.tasks.values():
        graphs[task.name], found = wire(manifest, task, known)
        problems += found
    problems += _never_run(manifest, graphs) if not any(map(_is_error, problems)) else []
    asked = Asked(bundle, variant, sources or {}, precision or {})
    checked = Checked(manifest, known, graphs, asked, lock)
    problems += differences(checked) if lock else []
    return Report(in_order(problems), checked)


def _never_run(manifest: Manifest, graphs: Mapping[str, Graph]) -> list[Problem]:
    run = {node.component for graph in graphs.values() for node in graph.nodes.values()}
    named = {known.partition(".")[0] for known in _spaces(manifest)}
    return [
        Problem(
            "L304",
            f"no task runs the component '{name}'",
            manifest.place("components", name, key=True),
            severity="warning",
            hint="run it in a graph, or remove it",
        )
        for name in manifest.components
        if name not in run and name not in named
    ]


def _spaces(manifest: Manifest) -> list[str]:
    return [entry.emits for entry in manifest.components.values() if entry.emits]


def _is_error(problem: Problem) -> bool:
    return problem.severity == "error"

"""Check a whole bundle: its text, its files' headers and its wiring, without loading weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from composer.checker.accepted_warnings import without_accepted
from composer.checker.component_facts import describe_components
from composer.checker.lock_differences import lock_problems
from composer.checker.packages import package_problems
from composer.checker.shared_nodes import not_yet_found
from composer.checker.stored_dtypes import stored_dtype_problems
from composer.checker.wiring import wire
from composer.core.errors import ComposerError, Problem, errors_of, in_order
from composer.formats import Headers
from composer.graph.checked import Checked, CheckRequest, CheckResult
from composer.graph.graph import Graph
from composer.manifest import Manifest, read_document, read_manifest
from composer.manifest.precision_request import PrecisionRequest, read_precision
from composer.manifest.recipes import PrecisionChange
from composer.manifest.source import Document
from composer.sources.hub import HubFiles
from composer.sources.lock import read_lock
from composer.sources.resolve import ResolvedBundle, find_bundle
from composer.sources.roots import resolve_sources


@dataclass
class _Shared:
    """What the variants of a bundle have in common, each read once."""

    headers: Headers = field(default_factory=lambda: Headers(HubFiles()))
    document: Document | None = None


def check(
    path: str | Path | ResolvedBundle,
    *,
    variant: str | None = None,
    sources: Mapping[str, Path] | None = None,
    precision: Mapping[str, PrecisionRequest] | None = None,
    backends: Mapping[str, str] | None = None,
) -> CheckResult:
    """Check a bundle, by path, name or hub ID, in one variant, or without and in each.

    Of remote files on the Hub only headers are read. `sources` gives
    folders to use for sources; `precision` overrides components' own: a recipe, a dtype, or both
    as `mixed-8-4,float32`, and `stored` for no recipe; `backends` chooses
    the backend of a component that names a family, by component or for all under `*`.
    """
    overrides: dict[str, Any] = {"sources": sources, "precision": precision, "backends": backends}
    overrides["shared"] = _Shared()
    first = check_variant(path, variant, **overrides)
    if first.bundle is None or first.bundle.manifest.variant is not None:
        return first
    reported = set(map(str, first.problems))
    problems = list(first.problems)
    for name in first.bundle.manifest.variants:
        found = check_variant(first.bundle.request.bundle, name, **overrides).problems
        for problem in found:
            if str(problem) not in reported:
                message = f"in the variant '{name}': {problem.message}"
                problems.append(replace(problem, message=message))
    return replace(first, problems=in_order(problems))


def check_variant(
    path: str | Path | ResolvedBundle,
    variant: str | None,
    *,
    sources: Mapping[str, Path] | None = None,
    precision: Mapping[str, PrecisionRequest] | None = None,
    backends: Mapping[str, str] | None = None,
    shared: _Shared | None = None,
) -> CheckResult:
    """Check one variant, or with None the manifest without any."""
    shared = shared or _Shared()
    try:
        bundle = find_bundle(path)
        shared.document = shared.document or read_document(bundle.path)
        manifest = read_manifest(bundle.path, variant or bundle.variant, shared.document)
        lock = read_lock(bundle.lock, bundle.given) if bundle.lock else None
    except ComposerError as error:
        return CheckResult(error.problems)
    commits = lock.commits if lock else None
    roots, problems = resolve_sources(manifest, bundle, sources, commits)
    problems += package_problems(manifest)
    asked, found = _read_precisions(precision or {})
    problems += found
    components, found = describe_components(manifest, roots, asked, backends or {}, shared.headers)
    problems += found
    problems += stored_dtype_problems(manifest, components, asked, shared.headers)
    graphs = {}
    for task in manifest.tasks.values():
        graphs[task.name], found = wire(manifest, task, components)
        problems += not_yet_found(found, problems)
    if not errors_of(problems):
        problems += _unused_components(manifest, graphs)
    request = CheckRequest(bundle, variant, sources or {}, asked, backends or {})
    checked = Checked(manifest, components, graphs, request, lock)
    if lock:
        problems += lock_problems(checked)
    return CheckResult(in_order(without_accepted(manifest, problems)), checked)


def recheck(checked: Checked) -> CheckResult:
    """Check the same bundle again, as after its remote files were downloaded."""
    request = checked.request
    return check_variant(
        request.bundle,
        request.variant,
        sources=request.sources,
        precision=request.precision,
        backends=request.backends,
    )


def _read_precisions(
    given: Mapping[str, PrecisionRequest],
) -> tuple[dict[str, PrecisionChange], list[Problem]]:
    """Return what is asked of each component to run in, and what cannot be asked."""
    found, problems = {}, []
    for name, asked in given.items():
        try:
            found[name] = read_precision(asked)
        except ValueError as error:
            problems.append(Problem("W219", f"precision of '{name}': {error}"))
    return found, problems


def _unused_components(manifest: Manifest, graphs: Mapping[str, Graph]) -> list[Problem]:
    run: set[str] = set()
    for graph in graphs.values():
        run.update(graph.components)
    named = {each.partition(".")[0] for each in _spaces(manifest)}
    found: list[Problem] = []
    for name in manifest.components:
        if name not in run and name not in named:
            found.append(
                Problem(
                    "L304",
                    f"no task runs the component '{name}'",
                    manifest.place("components", name, key=True),
                    severity="warning",
                    hint="run it in a graph, or remove it",
                )
            )
    return found


def _spaces(manifest: Manifest) -> list[str]:
    return [entry.emits for entry in manifest.components.values() if entry.emits]

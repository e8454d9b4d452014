"""Check a bundle without loading it.

Reads the manifest and the headers of the files it names, and finds every problem at once:
misspelt keys, wires that do not fit, shapes that disagree, files that are missing. Every
variant is checked, or the one that --variant names. Of files on the Hub only the headers are
read. With --json there is one object with bundle, ok and problems, whatever is wrong; of a
bundle that is sound also memory in bytes and its files on the Hub.

Example: composer check mega-asr-mini
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from composer.cli.options import BundleName, Json, LockFile, Sources, Variant, source_folders
from composer.cli.printing import count, echo, print_problems, problems_json, show_hub_status
from composer.core.errors import ComposerError, errors_of

if TYPE_CHECKING:
    from composer.graph.checked import CheckResult


def command(
    bundle: BundleName,
    variant: Variant = None,
    source: Sources = None,
    lock: LockFile = None,
    json: Json = False,
) -> None:
    from composer.checker import check as check_bundle
    from composer.sources.resolve import find_bundle

    stand_ins = source_folders(source)
    try:
        with show_hub_status(bundle):
            named = find_bundle(bundle, lock)
            found = check_bundle(named, variant=variant, sources=stand_ins)
    except ComposerError as error:
        if not json:
            raise
        echo(problems_json(bundle, error.problems))
        raise typer.Exit(error.exit_code) from None
    name = found.bundle.manifest.name if found.bundle else bundle
    if json:
        echo(problems_json(name, found.problems, **_sizes_json(found)))
    else:
        print_problems(found.problems)
        for line in _sizes(found):
            echo(line)
        echo(f"{name}: {_verdict(found)}")
    if not found.ok:
        raise typer.Exit(ComposerError(errors_of(found.problems)).exit_code)


def _sizes_json(found: CheckResult) -> dict[str, Any]:
    """Return as JSON what sizes says."""
    from composer.cli.commands.pull import file_json
    from composer.graph.files import required_files

    if found.bundle is None or not found.ok:
        return {}
    needs = required_files(found.bundle)
    return {"memory": _weight_bytes(found), "files": [file_json(need) for need in needs]}


def _weight_bytes(found: CheckResult) -> int:
    """Return the bytes that all weights take once they are loaded."""
    from composer.graph.graph import facts_of

    if found.bundle is None:
        return 0
    return sum(facts_of(found.bundle.components, name).nbytes for name in found.bundle.components)


def _sizes(found: CheckResult) -> list[str]:
    """Print what a bundle with files on the Hub has to fetch, and what it takes in memory."""
    from composer.core.units import format_bytes
    from composer.graph.files import required_files
    from composer.sources.hub import is_downloaded

    if found.bundle is None or not found.ok:
        return []
    needs = required_files(found.bundle)
    if not needs:
        return []
    repositories: dict[str, None] = {}
    total = here = 0
    for need in needs:
        repositories[f"{need.snapshot}, {need.snapshot.commit}"] = None
        total += need.file.size
        if is_downloaded(need):
            here += need.file.size
    licence = " and ".join(found.bundle.manifest.licence) or "not stated"
    return [
        *repositories,
        f"files: {count(len(needs), 'file')}, {format_bytes(total)}, of which "
        f"{format_bytes(here)} are here",
        f"memory: {format_bytes(_weight_bytes(found))}",
        f"licence: {licence}",
    ]


def _verdict(found: CheckResult) -> str:
    """Return the result in one line: ok, 9 nodes, 1 task, 2 warnings."""
    errors = len(errors_of(found.problems))
    warnings = len(found.problems) - errors
    parts = ["ok"]
    if errors:
        parts = ["refused", count(errors, "error")]
    elif found.bundle:
        graphs = found.bundle.graphs.values()
        parts += [count(sum(len(g.nodes) for g in graphs), "node"), count(len(graphs), "task")]
    if warnings:
        parts.append(count(warnings, "warning"))
    return ", ".join(parts)

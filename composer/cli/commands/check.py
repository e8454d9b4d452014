"""Check a bundle without loading it.

Reads the manifest and the headers of the files it names, and finds every problem at once:
misspelt keys, wires that do not fit, shapes that disagree, files that are missing. Every
variant is checked, or the one that --variant names. Of files on the Hub only the headers are
read. With --json there is one object with bundle, ok and problems, whatever is wrong; of a
bundle that is sound also memory in bytes and its files on the Hub.

Example: composer check mega-asr-mini
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from composer.cli.flags import parse_precisions
from composer.cli.options import (
    BundleName,
    Json,
    LockFile,
    Precisions,
    Sources,
    Variant,
    source_folders,
)
from composer.cli.printing import (
    count,
    echo,
    echo_line,
    print_problems,
    problems_json,
    show_hub_status,
)
from composer.core.errors import ComposerError, errors_of

if TYPE_CHECKING:
    from composer.graph.checked import Checked, CheckResult


def command(
    bundle: BundleName,
    variant: Variant = None,
    source: Sources = None,
    lock: LockFile = None,
    precision: Precisions = None,
    json: Json = False,
) -> None:
    from composer.checker import check as check_bundle
    from composer.sources.resolve import find_bundle

    asked = parse_precisions(precision, "--precision")
    stand_ins = source_folders(source)
    try:
        with show_hub_status(bundle):
            named = find_bundle(bundle, lock)
            found = check_bundle(named, variant=variant, sources=stand_ins, precision=asked)
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
        echo_line(f"{name}: {_verdict(found)}")
        flags = [f"--source={each}" for each in source or ()]
        if variant:
            flags.append(f"--variant={variant}")
        flags += [f"--precision={each}" for each in precision or ()]
        for line in _facts(found, bundle, flags):
            echo(line)
    if not found.ok:
        raise typer.Exit(ComposerError(errors_of(found.problems)).exit_code)


def _sizes_json(found: CheckResult) -> dict[str, Any]:
    """Return as JSON what a bundle takes in memory, and its files on the Hub."""
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


def _facts(found: CheckResult, bundle: str, flags: Sequence[str]) -> list[str]:
    """Return what a sound bundle takes, whose it is, and what to do with it next."""
    from composer.core.units import format_bytes
    from composer.jobs.next_command import next_command

    if found.bundle is None or not found.ok:
        return []
    manifest = found.bundle.manifest
    lines = _files(found.bundle)
    if nbytes := _weight_bytes(found):
        lines.append(f"memory: {format_bytes(nbytes)} of weights")
    lines.append(f"licence: {' and '.join(manifest.licence) or 'not stated'}")
    if manifest.variants:
        lines.append(f"variants: {', '.join(manifest.variants)}")
    command = next_command(manifest, shlex.join([bundle, *flags]))
    return [*lines, f"next: {command}"]


def _files(checked: Checked) -> list[str]:
    """Return what of the Hub a bundle reads, and how much of it is here."""
    from composer.core.units import format_bytes
    from composer.graph.files import required_files
    from composer.sources.hub import is_downloaded

    needs = required_files(checked)
    if not needs:
        return []
    repositories = dict.fromkeys(f"{need.snapshot}, {need.snapshot.commit}" for need in needs)
    total = sum(need.file.size for need in needs)
    here = sum(need.file.size for need in needs if is_downloaded(need))
    counted = f"{count(len(needs), 'file')}, {format_bytes(total)}"
    return [*repositories, f"files: {counted}, of which {format_bytes(here)} are here"]


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

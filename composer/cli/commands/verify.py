"""Compare a bundle's files with its lock, without a network.

Hashes every file that was locked, in the cache or in the folders that --source names, and
compares the manifest and the ports of every variant. Lists everything that differs.

Example: composer verify my-bundle
"""

from __future__ import annotations

import typer

from composer.cli.options import BundleName, Json, LockFile, Sources, source_folders
from composer.cli.printing import count, echo, echo_line, print_problems, problems_json
from composer.cli.progress import show_progress
from composer.core.errors import ComposerError


def command(
    bundle: BundleName,
    lock: LockFile = None,
    source: Sources = None,
    json: Json = False,
) -> None:
    from composer.core.units import format_bytes
    from composer.jobs.lock import verify

    with show_progress() as progress:
        verdict = verify(bundle, lock=lock, sources=source_folders(source), progress=progress)
    name = verdict.lock.model.bundle
    if json:
        echo(problems_json(name, verdict.problems))
    else:
        print_problems(verdict.problems)
    if verdict.problems:
        if not json:
            echo_line(f"{name}: {count(len(verdict.problems), 'difference')}")
        raise typer.Exit(ComposerError(verdict.problems).exit_code)
    if not json:
        files = count(verdict.files, "file")
        echo_line(
            f"{name}: {files}, {format_bytes(verdict.nbytes)}, all as "
            f"{verdict.lock.path.name} has them"
        )

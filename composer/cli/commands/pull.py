"""Download what a bundle needs from the Hub, and verify it.

Fetches the files that the task and the variant read, and no others, into the cache of Hugging
Face. What is here already is verified once. A download that was interrupted goes on where it
broke off. Nothing is loaded. composer run and composer transcribe fetch by themselves.

Example: composer pull mega-asr --variant small
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.options import BundleName, Json, LockFile, Sources, Task, Variant
from composer.cli.printing import count, say
from composer.core.output import as_json

if TYPE_CHECKING:
    from composer.sources.hub import RequiredFile


def command(
    bundle: BundleName,
    task: Task = None,
    variant: Variant = None,
    source: Sources = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the files and their bytes, and fetch none.")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Also spare it the child process that loads it first.")
    ] = False,
    lock: LockFile = None,
    json: Json = False,
) -> None:
    from composer.cli.opening import BundleFlags
    from composer.drawing.text import size
    from composer.graph.files import needed
    from composer.runtime.loading import require_local_files
    from composer.runtime.sandbox import remember
    from composer.sources.hub import held

    opened = BundleFlags(bundle, variant, source, lock=lock).open()
    tasks = opened.tasks if task is None else [opened.task(task)]
    names = list(dict.fromkeys(n for each in tasks for n in opened.checked.graphs[each].components))
    require_local_files(opened.checked, names)
    needs = needed(opened.checked, names)
    missing = [need for need in needs if not held(need)]
    if not dry_run:
        for each in tasks:
            opened.fetch(each)
        needs = needed(opened.checked, names)
        if trust:
            remember(opened.checked, needs)
    if json:
        say(as_json({"bundle": opened.name, "files": [entry(need) for need in needs]}))
        return
    if dry_run:
        width = max((len(size(need.file.size)) for need in needs), default=0)
        for need in needs:
            here = "" if need in missing else "  (here)"
            say(f"{size(need.file.size).rjust(width)}  {need}{here}")
    done = sum(need.file.size for need in (missing if dry_run else needs))
    what = "to fetch" if dry_run else "here and verified"
    files = count(len(missing if dry_run else needs), "file")
    say(f"{opened.name}: {files}, {size(done)} {what}")


def entry(need: RequiredFile) -> dict[str, object]:
    """Return a file as JSON tells of it."""
    from composer.sources.hub import held

    file = need.file
    return {
        "repository": need.snapshot.repo,
        "commit": need.snapshot.commit,
        "path": file.path,
        "size": file.size,
        file.algorithm: file.digest,
        "components": list(need.components),
        "verified": held(need),
    }

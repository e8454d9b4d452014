"""Download what a bundle needs from the Hub, and verify it.

Fetches the files that the task and the variant read, and no others, into the cache of Hugging
Face. What is here already is verified once. A download that was interrupted resumes where it
stopped. Nothing is loaded. composer run and composer transcribe fetch by themselves.

Example: composer pull mega-asr --variant small
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.options import BundleName, Json, LockFile, Sources, Task, Variant
from composer.cli.printing import count, echo
from composer.core.output import json_text
from composer.core.text_columns import align_right

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
        bool, typer.Option("--trust", help="Do not load it in a child process first.")
    ] = False,
    lock: LockFile = None,
    json: Json = False,
) -> None:
    from composer.cli.flags import BundleFlags
    from composer.core.units import format_bytes
    from composer.jobs.pull import pull
    from composer.sources.hub.required_file import total_size

    with BundleFlags(bundle, variant, source, lock=lock).open() as opened:
        found = pull(opened, task=task, dry_run=dry_run, trust=trust)
    if json:
        echo(
            json_text({"bundle": found.bundle, "files": [file_json(each) for each in found.files]})
        )
        return
    counted, what = found.files, "here and verified"
    if dry_run:
        sizes = align_right([format_bytes(each.file.size) for each in found.files])
        for each, nbytes in zip(found.files, sizes, strict=True):
            here = "" if each in found.missing else "  (here)"
            echo(f"{nbytes}  {each}{here}")
        counted, what = found.missing, "to fetch"
    total = format_bytes(total_size(counted))
    echo(f"{found.bundle}: {count(len(counted), 'file')}, {total} {what}")


def file_json(required: RequiredFile) -> dict[str, object]:
    """Return a file in JSON's types."""
    from composer.sources.hub import is_downloaded

    file = required.file
    return {
        "repository": required.snapshot.repo,
        "commit": required.snapshot.commit,
        "path": file.path,
        "size": file.size,
        file.algorithm: file.digest,
        "components": list(required.components),
        "verified": is_downloaded(required),
    }

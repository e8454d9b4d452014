"""List what was downloaded, with sizes, or remove it.

The cache is that of Hugging Face (HF_HOME, HF_HUB_CACHE), so that models are in it that
other programs fetched, and removing one takes it from them too.

Weights that were prepared for this machine from locked bundles are in it as well:
--remove prepared removes them, and the next load prepares them again.

Example: composer cache --remove Reza2kn/mega-asr-mlx
"""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from composer.cli.options import Json
from composer.cli.printing import count, echo
from composer.core.output import json_text
from composer.core.text_columns import align_right

PREPARED = "prepared"


def command(
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="OWNER/NAME", help="Remove a repository. May be repeated."),
    ] = None,
    json: Json = False,
) -> None:
    from composer.core.prepared_files import entries
    from composer.core.units import format_bytes
    from composer.sources.hub import parse_id, settings
    from composer.sources.hub.cache_listing import cached_repositories
    from composer.sources.hub.cache_listing import remove_repository as take_away
    from composer.sources.hub.settings import prepared_folder

    kept = prepared_folder()
    prepared = entries(kept)
    room = sum(entry.nbytes for entry in prepared)
    if remove:
        ids = [parse_id(text) for text in remove if text != PREPARED]
        if PREPARED in remove:
            shutil.rmtree(kept, ignore_errors=True)
            echo(f"{PREPARED} weights: removed, {format_bytes(room)}")
        for id in ids:
            gone = take_away(id)
            echo(f"{gone.repo}: removed, {format_bytes(gone.nbytes)}")
        return
    repositories = cached_repositories()
    if json:
        rows = []
        for each in repositories:
            rows.append(
                {"repository": each.repo, "commits": list(each.commits), "bytes": each.nbytes,
                 "unfinished": each.parts, "verified": each.verified}
            )  # fmt: skip
        known = {"folder": str(kept), "decoders": len(prepared), "bytes": room}
        listing = {"folder": str(settings.cache_folder()), "repositories": rows, PREPARED: known}
        echo(json_text(listing))
        return
    sizes = align_right([format_bytes(each.nbytes) for each in repositories])
    for each, nbytes in zip(repositories, sizes, strict=True):
        words = [count(len(each.commits), "commit"), f"{format_bytes(each.verified)} verified"]
        if each.parts:
            words.append(f"{format_bytes(each.parts)} unfinished")
        echo(f"{nbytes}  {each.repo}  ({', '.join(words)})")
    total = format_bytes(sum(each.nbytes for each in repositories))
    what = "repository" if len(repositories) == 1 else "repositories"
    echo(f"{settings.cache_folder()}: {len(repositories)} {what}, {total}")
    if prepared:
        what = count(len(prepared), "decoder")
        echo(f"{kept}: {what} prepared from locked bundles, {format_bytes(room)}")

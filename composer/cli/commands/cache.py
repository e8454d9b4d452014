"""List what was downloaded, with sizes, or remove it.

The cache is that of Hugging Face (HF_HOME, HF_HUB_CACHE), so that models are in it that
other programs fetched, and removing one takes it from them too.

Example: composer cache --remove Reza2kn/mega-asr-mlx
"""

from __future__ import annotations

from typing import Annotated

import typer

from composer.cli.options import Json
from composer.cli.printing import count, echo
from composer.core.output import as_json
from composer.core.text_columns import align_right


def command(
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="OWNER/NAME", help="Remove a repository. May be repeated."),
    ] = None,
    json: Json = False,
) -> None:
    from composer.drawing.text import size
    from composer.sources.hub import parse_id, settings
    from composer.sources.hub.cache_listing import cached_repositories
    from composer.sources.hub.cache_listing import remove as take_away

    if remove:
        for id in [parse_id(text) for text in remove]:
            gone = take_away(id)
            echo(f"{gone.repo}: removed, {size(gone.nbytes)}")
        return
    repositories = cached_repositories()
    if json:
        rows = []
        for each in repositories:
            rows.append(
                {"repository": each.repo, "commits": list(each.commits), "bytes": each.nbytes,
                 "unfinished": each.parts, "verified": each.verified}
            )  # fmt: skip
        echo(as_json({"folder": str(settings.cache()), "repositories": rows}))
        return
    sizes = align_right([size(each.nbytes) for each in repositories])
    for each, nbytes in zip(repositories, sizes, strict=True):
        words = [count(len(each.commits), "commit"), f"{size(each.verified)} verified"]
        if each.parts:
            words.append(f"{size(each.parts)} unfinished")
        echo(f"{nbytes}  {each.repo}  ({', '.join(words)})")
    total = size(sum(each.nbytes for each in repositories))
    what = "repository" if len(repositories) == 1 else "repositories"
    echo(f"{settings.cache()}: {len(repositories)} {what}, {total}")

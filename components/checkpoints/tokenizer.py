"""Find a decoder's tokenizer and hold its ids against the embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from composer.core.component import Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.formats import tokenizer_file

if TYPE_CHECKING:
    from composer.formats import Headers

    from .checkpoint import Table


def tokenizer_of(spec: Spec, headers: Headers) -> Location:
    """Return where a component's tokenizer.json is: by `files`, or beside its weights."""
    place = spec.files or spec.weights
    assert place is not None
    return tokenizer_file(place, headers.files)


def check_token_ids(tokenizer: Location, headers: Headers, table: Table) -> None:
    """Refuse a decoder whose ids and embeddings do not belong together."""
    if not headers.exists(tokenizer):
        raise ComposerError(
            Problem(
                "W245",
                f"there is no {tokenizer}, so ids cannot become text",
                Place(str(tokenizer)),
                hint="point `files` at the folder that holds tokenizer.json, or at the file",
            )
        )
    most = headers.tokenizer(tokenizer).max_id
    if most >= table.rows:
        raise ComposerError(
            Problem(
                "W250",
                f"the tokenizer has ids up to {most}, but the embeddings have {table.rows} rows",
                Place(str(tokenizer)),
                (table.witness,),
                hint="give the tokenizer that the model was trained with",
            )
        )

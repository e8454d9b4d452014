"""Find a decoder's tokenizer and hold its ids against the embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from composer.core.component import Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.formats import tokenizer_file

from .folder import folder_of

if TYPE_CHECKING:
    from composer.formats import Headers

    from .checkpoint import Table


def tokenizer_of(spec: Spec, headers: Headers) -> Location:
    """Return where a component's tokenizer.json is: by `files`, or beside its weights."""
    if spec.files:
        return tokenizer_file(spec.files, headers.files)
    assert spec.weights is not None
    return tokenizer_file(folder_of(spec.weights), headers.files)


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

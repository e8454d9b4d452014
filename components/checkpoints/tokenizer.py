"""Find a decoder's tokenizer and compare its ids with the embeddings and the stop ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from composer.core.component import Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.core.suggest import some
from composer.formats import tokenizer_file
from composer.formats.file_problems import show
from composer.formats.gguf import SUFFIX as GGUF

from .folder import folder_of

if TYPE_CHECKING:
    from composer.formats import Headers, TokenizerInfo


@dataclass(frozen=True)
class Vocabulary:
    """How many ids a model knows, where that was read, and which of them end a text."""

    rows: int
    witness: str
    stop: frozenset[int]


def tokenizer_location(spec: Spec, headers: Headers) -> Location:
    """Return where a component's tokenizer is: by `files`, or beside its weights.

    A GGUF file has one in itself, which counts where no tokenizer.json lies beside it.
    """
    if spec.files:
        return tokenizer_file(spec.files, headers.files)
    assert spec.weights is not None
    if spec.weights.inside.endswith(GGUF):
        beside = folder_of(spec.weights, GGUF) / "tokenizer.json"
        return beside if headers.exists(beside) else spec.weights
    return tokenizer_file(folder_of(spec.weights), headers.files)


def check_tokenizer(
    tokenizer: Location, headers: Headers, vocabulary: Vocabulary
) -> tuple[Problem, ...]:
    """Refuse ids that the embeddings do not have; return a warning if texts end elsewhere."""
    if not headers.exists(tokenizer):
        raise ComposerError(
            Problem(
                "W245",
                f"there is no {tokenizer}, so ids cannot become text",
                Place(str(tokenizer)),
                hint="point `files` at the folder that holds tokenizer.json, or at the file",
            )
        )
    most, rows = headers.tokenizer(tokenizer).max_id, vocabulary.rows
    if most >= rows:
        raise ComposerError(
            Problem(
                "W250",
                f"the tokenizer has ids up to {most}, but the embeddings have {rows} rows",
                Place(str(tokenizer)),
                (vocabulary.witness,),
                hint="give the tokenizer that the model was trained with",
            )
        )
    notes = [*_check_stop(tokenizer, headers, vocabulary)]
    return (*notes, *_check_end(tokenizer, headers, vocabulary))


def _check_stop(tokenizer: Location, headers: Headers, vocabulary: Vocabulary) -> Iterator[Problem]:
    """Warn of ids that end a text and are no tokens: rows that fill the embeddings up."""
    absent = vocabulary.stop - headers.tokenizer(tokenizer).ids
    if absent:
        yield Problem(
            "L345",
            f"eos_token_id {some(sorted(absent))} is no token",
            Place(str(tokenizer)),
            (vocabulary.witness,),
            hint="give the token that ends a text under stop of the node that generates",
            severity="warning",
        )


def unknown_tokens(
    place: Location, tokenizer: TokenizerInfo, rows: int, options: Mapping[str, Any]
) -> Iterator[str]:
    """Say which tokens of a call's options the model cannot write: it has so many rows."""
    for option in ("stop", "reasoning"):
        for token in options.get(option) or ():
            if isinstance(token, str):
                if tokenizer.id_of(token) is None:
                    hint = "; a text of several tokens goes under stop_text"
                    yield f"{option} {token!r} is no token of {place}" + hint * (option == "stop")
            elif not 0 <= token < rows:
                yield f"{option} {token} is no id of the model, whose last is {rows - 1}"


def _check_end(tokenizer: Location, headers: Headers, vocabulary: Vocabulary) -> Iterator[Problem]:
    """Warn if the tokenizer's own end-of-text token does not stop generation."""
    place = folder_of(tokenizer, ".json") / "tokenizer_config.json"
    if tokenizer.inside.endswith(GGUF):
        return
    if not vocabulary.stop or not headers.exists(place):
        return
    token = headers.config(place).get("eos_token")
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str):
        return
    found = headers.tokenizer(tokenizer).id_of(text)
    if found is not None and found not in vocabulary.stop:
        yield Problem(
            "L331",
            f"eos_token {show(text)} is id {found}, which does not stop generation",
            Place(str(place)),
            (f"the config of the model has eos_token_id {some(sorted(vocabulary.stop))}",),
            hint="if the model ends texts with it, add it under stop",
            severity="warning",
        )

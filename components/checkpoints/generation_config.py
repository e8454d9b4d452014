"""What a checkpoint's generation_config.json says: what ends a text, and what is not done here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from composer.core.errors import Place, Problem
from composer.core.location import Location
from composer.core.problems import Problems
from composer.core.suggest import some
from composer.formats.file_problems import show

if TYPE_CHECKING:
    from composer.formats import Headers

GENERATION = "generation_config.json"

# Values at which a key changes no token of a greedy text. What only sampling reads is not here: a
# bundle states how it samples.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "bad_words_ids": ([],),
    "begin_suppress_tokens": ([],),
    "dola_layers": (),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "exponential_decay_length_penalty": (),
    "forced_bos_token_id": (),
    "forced_decoder_ids": ([],),
    "forced_eos_token_id": (),
    "guidance_scale": (1,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "no_repeat_ngram_size": (0,),
    "num_beams": (1,),
    "penalty_alpha": (0,),
    "repetition_penalty": (1,),
    "sequence_bias": ({}, []),
    "stop_strings": ([], ""),
    "suppress_tokens": ([],),
}
OPTIONS = {
    "repetition_penalty": "repetition_penalty, which counts generated tokens alone",
    "stop_strings": "stop_text",
}


def unread_generation(config: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    """Warn of each key by which other runtimes write another text, also a greedy one."""
    for key, neutral in NEUTRAL.items():
        value = config.get(key)
        if value is None or value in neutral:
            continue
        hint = "nothing here does that: compare texts with the runtime that the model was made for"
        if key in OPTIONS:
            hint = f"if the model needs it, generate has the option {OPTIONS[key]}"
        yield Problem(
            "L341",
            f"{key} is {show(str(value))[1:-1]}, which other runtimes apply, and this decoder "
            "does not",
            place,
            hint=hint,
            severity="warning",
        )


def read_generation(
    folder: Location | None,
    file: Location,
    config: Mapping[str, Any],
    headers: Headers,
    rows: int,
    witness: str,
) -> tuple[frozenset[int], Problems]:
    """Read which ids end a text of so many `rows`, and warn of what is not done here.

    The folder's generation_config.json comes before the config, which is `file`, as in mlx-lm.
    """
    place, own = file, None
    if folder is not None and headers.exists(folder / GENERATION):
        place = folder / GENERATION
        own = headers.config(place)
    notes = unread_generation(config if own is None else own, Place(str(place)))
    stated = None if own is None else own.get("eos_token_id")
    if stated is None:
        place, stated = file, config.get("eos_token_id")
    problems = Problems(place=Place(str(place)))
    ids = stated if isinstance(stated, list) else [stated]
    ids = [] if stated is None else ids
    odd = [each for each in ids if type(each) is not int or not 0 <= each < rows]
    if odd:
        message = f"eos_token_id {some(odd)} is outside the vocabulary of {rows}"
        problems.report("W244", message, witness)
        ids = []
    elif not ids:
        message = "no eos_token_id: a text ends at `stop` or `max_tokens` alone"
        problems.report("L322", message, severity="warning")
    problems.add(*notes)
    return frozenset(ids), problems

"""What a checkpoint's generation_config.json says that no decoder here does by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from composer.core.errors import Place, Problem
from composer.formats.file_problems import show

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

"""Spell a config as the installed mlx-lm reads it, and refuse by name what it would ignore."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composer.core.errors import Problem
from composer.formats.refusal import show

from ...checkpoints.keys.meaning import ALIASES, unread
from ...checkpoints.keys.places import Placed
from ...checkpoints.keys.rotary import KEEP, ORIGINAL, positions
from ...checkpoints.keys.window import Window
from .arguments import TEXT, counts_ids, read_arguments
from .conventions import (
    ACTIVATION,
    ACTIVATIONS,
    DEFAULTS,
    FIXED,
    HEAD_NEEDED,
    PER_TYPE,
    SILU,
    SPECIAL_HEADS,
)
from .draft import Draft
from .layers import check_types, look
from .turning import turn


@dataclass(frozen=True)
class Spelled:
    """A config for mlx-lm, with what is added to its network, and what is wrong with it.

    `window` are the layers that are given a window which mlx-lm does not compute; `counts_ids`
    tells that the network needs ids to count, of any value; `positions` is how many a sequence has
    at most. Each problem comes with the path of its key.
    """

    config: Mapping[str, Any]
    window: Window | None = None
    counts_ids: bool = False
    positions: int | None = None
    problems: tuple[Placed, ...] = ()


def spell(
    config: Mapping[str, Any], models: Path, name: str, head: bool, ignore: Collection[str] = ()
) -> Spelled:
    """Return a config as the module `name` of mlx-lm reads it; `head` tells if one is stored."""
    arguments = read_arguments(models, name, config)
    draft = Draft(config, models, name, arguments, head, ignore)
    name_alike(draft)
    rules = turn(draft)
    window = look(draft)
    tie(draft)
    fill(draft)
    check(draft)
    made: dict[str, Any] = draft.out
    if arguments.nested:
        made = {**config, TEXT: draft.out}
    counts = counts_ids(models, arguments.module)
    limit = positions(draft.given, rules)
    return Spelled(made, window, counts, limit, tuple(draft.problems))


def name_alike(draft: Draft) -> None:
    """Give a key the other name under which the architecture reads it."""
    for given, read in ALIASES:
        reads = draft.arguments.read
        if given in draft.out and read in reads and given not in reads:
            value = draft.out.pop(given)
            if draft.out.setdefault(read, value) != value:
                draft.wrong(f"{given} and {read} differ", given, code="W241")


def tie(draft: Draft) -> None:
    """Take the head that is stored where the config says nothing of it."""
    stated = draft.whole.get("tie_word_embeddings", draft.given.get("tie_word_embeddings"))
    tied = not draft.head if stated is None else stated
    draft.out["tie_word_embeddings"] = tied
    if draft.name in HEAD_NEEDED and not draft.head:
        what = f"mlx-lm's {draft.name} needs an lm_head of its own"
        draft.problems.append((("tie_word_embeddings",), Problem("W257", what)))
    unread = "tie_word_embeddings" not in draft.arguments.read
    if unread and draft.module not in SPECIAL_HEADS and tied is False:
        what = f"mlx-lm's {draft.module} takes the embeddings as its head, and this has another"
        keys = ["tie_word_embeddings"] if stated is not None else []
        draft.problems.append((tuple(keys), Problem("W257", what)))


def fill(draft: Draft) -> None:
    """Take what transformers takes where the config is silent; refuse what nobody knows."""
    defaults = {**DEFAULTS.get(draft.module, {})}
    width, heads = draft.out.get("hidden_size"), draft.out.get("num_attention_heads")
    if type(width) is int and type(heads) is int and heads > 0:
        defaults.setdefault("head_dim", width // heads)
        defaults.setdefault("num_key_value_heads", heads)
        defaults.setdefault("block_dim", width)
    for key, value in defaults.items():
        if draft.out.get(key) is None and key in draft.arguments.read | draft.arguments.required:
            draft.out[key] = value
    if draft.module in PER_TYPE and not draft.out.get("rope_parameters"):
        draft.missing("rope_parameters")
    check_types(draft)
    for key in sorted(draft.arguments.required - draft.out.keys()):
        draft.missing(key)


def check(draft: Draft) -> None:
    """Refuse every key that nothing reads and that is not known to change nothing."""
    right = ACTIVATION.get(draft.module, SILU)
    for key in ACTIVATIONS:
        value = draft.out.get(key)
        if value is None or key in draft.arguments.read:
            continue
        del draft.out[key]
        if value not in right:
            what = f"mlx-lm's {draft.module} computes {right[0]}, and {key} is "
            draft.wrong(what + show(str(value))[1:-1], key)
    for key, values in FIXED.get(draft.module, {}).items():
        if draft.out.get(key) is not None and draft.out[key] not in values:
            refuse_key(draft, key)
    known = draft.arguments.read | {"tie_word_embeddings", "max_position_embeddings"}
    known |= {"num_hidden_layers", "hidden_size", "vocab_size", "rope_theta", "rope_parameters"}
    known |= {"partial_rotary_factor", ORIGINAL}
    heads = draft.out.get("num_attention_heads")
    derived = {
        "head_dim": head_width(draft),
        "num_key_value_heads": heads,
        "intermediate_size": draft.out.get("intermediate_size"),
    }
    for key in unread(draft.out, known):
        if key in derived and draft.out[key] == derived[key]:
            continue
        refuse_key(draft, key)


def head_width(draft: Draft) -> int | None:
    """Return the width of a head where the config does not say it."""
    width, heads = draft.out.get("hidden_size"), draft.out.get("num_attention_heads")
    return width // heads if type(width) is int and type(heads) is int and heads else None


def refuse_key(draft: Draft, key: str) -> None:
    """Refuse a key that the architecture ignores."""
    value = show(str(draft.out[key]))[1:-1]
    draft.wrong(f"mlx-lm's {draft.module} does not read {key}, which is {value}", key, hint=KEEP)

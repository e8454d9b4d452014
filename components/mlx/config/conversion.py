"""Convert a config for the installed mlx-lm, and refuse keys that it would ignore."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composer.core.errors import Problem
from composer.core.suggest import listed
from composer.formats.file_problems import show, show_bare

from ...checkpoints.config_keys.key_positions import Placed
from ...checkpoints.config_keys.meaning import ALIASES, unread_keys
from ...checkpoints.config_keys.rope_faults import ORIGINAL
from ...checkpoints.config_keys.rotary import KEEP, max_positions
from ...checkpoints.config_keys.window import AttentionWindow
from .arguments import TEXT, read_architecture_keys, takes_length_from_ids
from .conventions import (
    ACTIVATION,
    ACTIVATIONS,
    BOUNDED,
    DEFAULTS,
    FIXED,
    HEAD_NEEDED,
    PER_TYPE,
    SILU,
    SPECIAL_HEADS,
    TEXT_KINDS,
    TEXT_NEEDED,
)
from .draft import ConfigDraft
from .layers import check_layer_types, convert_windows
from .rope import convert_rope

TIED = "tie_word_embeddings"
EXPERTS = {"num_experts", "num_local_experts", "n_routed_experts"}


@dataclass(frozen=True)
class MlxConfig:
    """A config for mlx-lm, with additions to its network, and its problems.

    `window` is an attention window that mlx-lm does not compute itself; `takes_length_from_ids`
    means that the network needs ids to count, of any value; `positions` is the maximum
    sequence length. Each problem has the path of its key.
    """

    config: Mapping[str, Any]
    window: AttentionWindow | None = None
    takes_length_from_ids: bool = False
    positions: int | None = None
    problems: tuple[Placed, ...] = ()


def convert_config(
    config: Mapping[str, Any], models: Path, name: str, head: bool, ignore: Collection[str] = ()
) -> MlxConfig:
    """Convert a config for mlx-lm's module `name`; `head` is whether one is stored."""
    arguments = read_architecture_keys(models, name, config)
    draft = ConfigDraft(config, models, name, arguments, head, ignore)
    _check_text_config(draft)
    _rename_aliases(draft)
    rules = convert_rope(draft)
    window = convert_windows(draft)
    _convert_head(draft)
    _fill_defaults(draft)
    _check_unread_keys(draft)
    _check_outer_keys(draft)
    result: dict[str, Any] = draft.target
    if arguments.nested:
        result = {**config, TEXT: draft.target}
        if "vocab_size" in draft.target:
            result.setdefault("vocab_size", draft.target["vocab_size"])
    counts = takes_length_from_ids(models, arguments.module)
    limit = max_positions(draft.source, rules)
    return MlxConfig(result, window, counts, limit, tuple(draft.problems))


def _check_text_config(draft: ConfigDraft) -> None:
    """Refuse a nested text model that is none, or that mlx-lm would compute as another one."""
    if not isinstance(draft.config.get(TEXT, {}), dict):
        message = f"{TEXT} is {show_bare(draft.config[TEXT])}; expected an object"
        draft.problems.append(((TEXT,), Problem("W241", message)))
    elif not draft.arguments.nested and draft.name in TEXT_NEEDED:
        message = f"{TEXT} is missing, and mlx-lm's {draft.name} needs it"
        draft.problems.append((("model_type",), Problem("W258", message)))
    kinds = TEXT_KINDS.get(draft.module, ())
    if draft.arguments.nested and draft.kind not in (*kinds, draft.name):
        message = f"mlx-lm's {draft.name} computes {listed(kinds)}, and text_config is "
        draft.add_problem(message + show(draft.kind), "model_type", code="W240")


def _check_outer_keys(draft: ConfigDraft) -> None:
    """Refuse a number that stands beside text_config, where nothing reads it, and differs."""
    if not draft.arguments.nested:
        return
    for key in sorted(draft.arguments.read & draft.config.keys() - {"model_type", TIED}):
        value, inner = draft.config[key], draft.target.get(key)
        if isinstance(value, bool | float | int | str) and inner not in (None, value):
            message = f"{key} is {show_bare(value)} and, in {TEXT}, {show_bare(inner)}"
            draft.problems.append(((key,), Problem("W241", message)))


def _rename_aliases(draft: ConfigDraft) -> None:
    """Rename keys to the alias that the architecture reads."""
    for source, read in ALIASES:
        reads = draft.arguments.read
        if source in draft.target and read in reads and source not in reads:
            value = draft.target.pop(source)
            if draft.target.setdefault(read, value) != value:
                draft.add_problem(f"{source} and {read} differ", source, code="W241")


def _convert_head(draft: ConfigDraft) -> None:
    """Decide whether the head is tied, by the config or else by the stored tensors."""
    stated = draft.config.get("tie_word_embeddings", draft.source.get("tie_word_embeddings"))
    tied = stated
    if stated is None:
        tied = not draft.head
    draft.target["tie_word_embeddings"] = tied
    if draft.name in HEAD_NEEDED and not draft.head:
        message = f"mlx-lm's {draft.name} needs an lm_head of its own"
        draft.problems.append((("tie_word_embeddings",), Problem("W257", message)))
    unread = "tie_word_embeddings" not in draft.arguments.read
    if unread and draft.module not in SPECIAL_HEADS and tied is False:
        message = f"mlx-lm's {draft.module} takes the embeddings as its head, and this has another"
        path = () if stated is None else ("tie_word_embeddings",)
        draft.problems.append((path, Problem("W257", message)))


def _fill_defaults(draft: ConfigDraft) -> None:
    """Add transformers' defaults for missing keys; refuse missing required keys."""
    defaults = {**DEFAULTS.get(draft.module, {}), **DEFAULTS.get(draft.kind, {})}
    for key in BOUNDED.get(draft.module, ()):
        if key in draft.source and draft.source[key] is None:
            draft.add_problem(f"mlx-lm's {draft.module} has no logits without {key}", key)
    width, heads = draft.target.get("hidden_size"), draft.target.get("num_attention_heads")
    if type(width) is int and type(heads) is int and heads > 0:
        defaults.setdefault("head_dim", width // heads)
        defaults.setdefault("num_key_value_heads", heads)
        defaults.setdefault("block_dim", width)
    for key, value in defaults.items():
        if draft.target.get(key) is None and key in draft.arguments.read | draft.arguments.required:
            null_flag = value is True and key in draft.target  # no default, but false
            draft.target[key] = False if null_flag else value
    if draft.module in PER_TYPE and not draft.target.get("rope_parameters"):
        draft.add_missing("rope_parameters")
    check_layer_types(draft)
    _check_experts(draft)
    for key in sorted(draft.arguments.required):
        if draft.target.get(key) is None:
            draft.add_missing(key)


def _check_experts(draft: ConfigDraft) -> None:
    """Refuse more experts for each token than there are, or none."""
    counts = [draft.target.get(key) for key in EXPERTS]
    experts = max((count for count in counts if type(count) is int), default=0)
    taken = draft.target.get("num_experts_per_tok")
    if type(taken) is int and experts > 0 and not 0 < taken <= experts:
        message = f"{taken} experts are taken for each token, and there are {experts}"
        draft.add_problem(message, "num_experts_per_tok", code="W241")
    width = "moe_intermediate_size"
    for key in sorted(EXPERTS & draft.arguments.required | {width} & draft.arguments.read):
        value = draft.target.get(key)
        if value == 0 or isinstance(value, list):
            what = f"{key} is {show_bare(value)}, and mlx-lm's {draft.module} needs one above 0"
            draft.add_problem(what, key)


def _check_unread_keys(draft: ConfigDraft) -> None:
    """Refuse every key that is not read and not known to have no effect."""
    right = ACTIVATION.get(draft.module, SILU)
    for key in ACTIVATIONS:
        value = draft.target.get(key)
        if value is None or key in draft.arguments.read:
            continue
        del draft.target[key]
        if value not in right:
            message = f"mlx-lm's {draft.module} computes {right[0]}, and {key} is "
            draft.add_problem(message + show_bare(value), key)
    for key, values in FIXED.get(draft.module, {}).items():
        if draft.target.get(key) is not None and draft.target[key] not in values:
            _refuse_key(draft, key)
    known = draft.arguments.read | {"tie_word_embeddings", "max_position_embeddings"}
    known |= {"num_hidden_layers", "hidden_size", "vocab_size", "rope_theta", "rope_parameters"}
    known |= {"partial_rotary_factor", ORIGINAL}
    heads = draft.target.get("num_attention_heads")
    derived = {
        "head_dim": _head_width(draft),
        "num_key_value_heads": heads,
        "intermediate_size": draft.target.get("intermediate_size"),
    }
    for key in unread_keys(draft.target, known):
        if key in derived and draft.target[key] == derived[key]:
            continue
        _refuse_key(draft, key)


def _head_width(draft: ConfigDraft) -> int | None:
    """Return the default head width."""
    width, heads = draft.target.get("hidden_size"), draft.target.get("num_attention_heads")
    if type(width) is not int or type(heads) is not int or not heads:
        return None
    return width // heads


def _refuse_key(draft: ConfigDraft, key: str) -> None:
    """Refuse a key that the architecture ignores."""
    value = show_bare(draft.target[key])
    draft.add_problem(
        f"mlx-lm's {draft.module} does not read {key}, which is {value}", key, hint=KEEP
    )

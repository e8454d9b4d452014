"""Read which layers attend how, and whose keys and values they use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composer.formats.file_problems import show_bare

from .reader import MOST, ConfigReader, is_positive
from .settings import FULL, SLIDING, SizeWithSource

ROPE = {"rope_type", "rope_theta", "partial_rotary_factor", "factor"}
OVERRIDES = {"head_dim", "num_key_value_heads"}


def read_layer_types(reader: ConfigReader, count: int) -> list[str]:
    """Return each layer's attention; transformers makes the last one full whatever is stated."""
    stated, pattern = reader.config.get("layer_types"), reader.config.get("sliding_window_pattern")
    if stated is None and type(pattern) is int and pattern > 0:
        stated = [SLIDING] * count
        for number in range(pattern - 1, count, pattern):
            stated[number] = FULL
    if stated is None:
        reader.report_missing(
            "layer_types", "and defaults differ: full attention every 5th or every 6th"
        )
    elif not isinstance(stated, list) or any(kind not in (FULL, SLIDING) for kind in stated):
        reader.refuse("layer_types", f"a list of {SLIDING} and {FULL}")
    elif len(stated) != count:
        reader.report("W275", f"layer_types names {len(stated)} layers, num_hidden_layers {count}")
    elif stated[-1] != FULL:
        reader.report("W275", f"the last layer has {SLIDING}; transformers would make it full")
    else:
        return list(stated)
    return [SLIDING] * count


def read_head_dims(reader: ConfigReader, kinds: list[str]) -> dict[str, SizeWithSource]:
    """Return the width of a head in both kinds of layers."""
    sliding, full = _q_norm(kinds, SLIDING), _q_norm(kinds, FULL)
    return {
        SLIDING: reader.size("head_dim", sliding),
        FULL: _of_full(reader, "global_head_dim", "head_dim", kinds, full),
    }


def _q_norm(kinds: list[str], kind: str) -> str:
    """Name the norm of queries of the first layer of a kind; of the first one where none is."""
    first = kinds.index(kind) if kind in kinds else 0
    return f"layers.{first}.self_attn.q_norm.weight"


def read_kv_heads(
    reader: ConfigReader, kinds: list[str], dims: Mapping[str, SizeWithSource], equal: bool
) -> dict[str, SizeWithSource]:
    """Return the key and value heads of both kinds of layers."""
    plain = SLIDING if SLIDING in kinds else FULL
    name = f"layers.{kinds.index(plain)}.self_attn.k_proj.weight"
    own = reader.size("num_key_value_heads", name, per=dims[plain].value)
    if not equal or FULL not in kinds:
        return {SLIDING: own, FULL: own}
    name = f"layers.{kinds.index(FULL)}.self_attn.k_proj.weight"
    key, inner = "num_global_key_value_heads", "num_key_value_heads"
    return {SLIDING: own, FULL: _of_full(reader, key, inner, kinds, name, dims[FULL].value)}


def _of_full(
    reader: ConfigReader, key: str, inner: str, kinds: list[str], name: str, per: int = 1
) -> SizeWithSource:
    """Return a size of the full layers, which two ways of writing a config may say."""
    listed, stated = _overrides(reader, inner, kinds), reader.config.get(key)
    if listed is None or stated is not None:
        if listed not in (None, stated):
            reader.report("W275", f"{key} is {stated}, but per_layer_config says {listed}")
        return reader.size(key, name, per=per)
    if type(listed) is not int or not 0 < listed <= MOST:
        reader.refuse("per_layer_config", f"{inner} of 1 or more")
        return SizeWithSource(1, inner)
    return SizeWithSource(listed, f"{inner} {listed} of per_layer_config")


def _overrides(reader: ConfigReader, key: str, kinds: list[str]) -> Any:
    """Return what `per_layer_config`, as transformers writes it, says of the full layers."""
    table = reader.config.get("per_layer_config")
    if table is None:
        return None
    full = {str(number) for number, kind in enumerate(kinds) if kind == FULL}
    row = None
    if isinstance(table, dict) and {*table} == full:
        row = _common_row(list(table.values()))
    if row is None:
        reader.refuse("per_layer_config", f"{' and '.join(OVERRIDES)}, for all full layers")
        return None
    return row.get(key)


def _common_row(rows: list[Any]) -> dict[str, Any] | None:
    """Return the overrides that all rows have, or None where they differ or are none."""
    if not rows or rows.count(rows[0]) < len(rows):
        return None
    if not isinstance(rows[0], dict) or rows[0].keys() - OVERRIDES:
        return None
    return rows[0]


def read_num_kv_shared_layers(reader: ConfigReader, kinds: list[str]) -> int:
    """Return how many layers at the end use keys and values of layers before them."""
    stated, count = reader.config.get("num_kv_shared_layers"), len(kinds)
    if stated is None:
        stored = []
        for number in range(count):
            if f"layers.{number}.self_attn.k_proj.weight" in reader.tensors:
                stored.append(number)
        stated = count - 1 - stored[-1] if stored else 0
        if not stated:
            why = "and keys of every layer are stored, used or not; defaults differ: 0 and 20"
            reader.report_missing("num_kv_shared_layers", why)
    if type(stated) is not int or not 0 <= stated < count:
        reader.refuse("num_kv_shared_layers", f"0 to {count - 1}")
        return 0
    for kind in sorted({*kinds[count - stated :]} - {*kinds[: count - stated]}):
        reader.report(
            "W275",
            f"the last {stated} layers borrow keys and values, but none before them has {kind}",
        )
    return stated


def read_keys_are_values(reader: ConfigReader, kinds: list[str], shared: int) -> bool:
    """Return whether full layers take their keys for values."""
    stated = reader.flag("attention_k_eq_v")
    if stated is not None:
        return stated
    own = kinds[: len(kinds) - shared]
    for number, kind in enumerate(own):
        if kind == FULL and f"layers.{number}.self_attn.v_proj.weight" in reader.tensors:
            return False
    return FULL in own


def read_rope(reader: ConfigReader, kinds: list[str]) -> dict[str, Any]:
    """Return the rotary settings of both kinds of layers."""
    stated = reader.config.get("rope_parameters")
    if stated is None:
        reader.report_missing("rope_parameters", "which no tensor shows")
        return {}
    table: Any = stated if isinstance(stated, dict) else {}
    for kind in sorted({*kinds}):
        if not _is_rope(table.get(kind)):
            reader.report(
                "W275",
                f"rope_parameters of {kind} is {show_bare(table.get(kind))}",
                hint="wanted rope_theta and the rope_type default, or proportional with "
                "partial_rotary_factor",
            )
    return dict(table)


def _is_rope(given: Any) -> bool:
    if (
        not isinstance(given, dict)
        or given.keys() - ROPE
        or not is_positive(given.get("rope_theta"))
    ):
        return False
    part, factor = given.get("partial_rotary_factor", 1.0), given.get("factor", 1.0)
    if given.get("rope_type") == "default":
        return bool(part == factor == 1.0)  # only proportional ones would read them
    whole = is_positive(part) and part <= 1 and is_positive(factor)
    return given.get("rope_type") == "proportional" and whole


def read_sliding_window(reader: ConfigReader, kinds: list[str]) -> int:
    """Return how many positions a sliding layer sees, its own included."""
    stated = reader.config.get("sliding_window")
    if SLIDING in kinds and stated is None:
        reader.report_missing("sliding_window", "which no tensor shows")
    elif stated is not None and (type(stated) is not int or not 0 < stated <= MOST):
        reader.refuse("sliding_window", "1 or more")
    return stated if type(stated) is int else 1

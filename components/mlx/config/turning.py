"""Spell how positions turn as an architecture of mlx-lm reads it."""

from __future__ import annotations

from typing import Any

from composer.formats.refusal import show

from ...checkpoints.keys import rotary
from ...checkpoints.keys.rotary import ORIGINAL, Rules
from ...checkpoints.keys.window import FULL, SLIDING
from .conventions import DEFAULTS, KINDS_OF, MULTIPLIED, NUMBERS_NEEDED, PER_TYPE
from .draft import Draft

SCALED = ("linear", "llama3", "yarn", "dynamic")


def turn(draft: Draft) -> dict[str, Rules]:
    """Spell both forms of rope as this architecture reads them."""
    types = draft.given.get("layer_types")
    rules, problems = rotary.read_rules(draft.given, types if isinstance(types, list) else ())
    draft.problems += [((*draft.path, *path), problem) for path, problem in problems]
    for key in rotary.SPELLINGS:
        draft.out.pop(key, None)
    if not rules:
        return rules
    for each in rules.values():
        check_rules(draft, each)
    if draft.module in PER_TYPE:
        for each in rules.values():
            if each.theta is None:
                draft.missing("rope_theta", *each.path)
        draft.out["rope_parameters"] = {
            name: numbers(draft, each, inner=True) for name, each in by_type(draft, rules).items()
        }
    elif "rope_local_base_freq" in draft.arguments.read:
        turn_two(draft, rules)
    else:
        turn_alike(draft, rules)
    return rules


def by_type(draft: Draft, rules: dict[str, Rules]) -> dict[str, Rules]:
    """Return the rules of each type of layer, where the config may say them once for all."""
    if "" not in rules:
        return rules
    types = draft.given.get("layer_types") or [FULL]
    return {str(each): rules[""] for each in types if isinstance(each, str)}


def turn_two(draft: Draft, rules: dict[str, Rules]) -> None:
    """Spell what layers with a window and those without one do, as Gemma 3 has it."""
    full = rules.get(FULL) or rules.get("")
    sliding = rules.get(SLIDING)
    if full is not None:
        set_key(draft, "rope_theta", full.theta)
        if full.kind != "default":
            draft.out["rope_scaling"] = numbers(draft, full)
    if sliding is not None:
        set_key(draft, "rope_local_base_freq", sliding.theta)
        if sliding.kind != "default":
            refuse_kind(draft, sliding)


def turn_alike(draft: Draft, rules: dict[str, Rules]) -> None:
    """Spell the one way in which all layers turn."""
    first, *others = rules.values()
    if any(not first.same(other) for other in others):
        what = f"mlx-lm's {draft.module} turns the positions of all types of layers alike"
        draft.wrong(what, first.path[0])
    reads = draft.arguments.read
    set_key(draft, "rope_theta", first.theta)
    if "rope_parameters" in reads:
        draft.out["rope_parameters"] = numbers(draft, first, inner=True)
    if "rope_scaling" in reads and first.kind != "default":
        draft.out["rope_scaling"] = numbers(draft, first)


def set_key(draft: Draft, key: str, value: Any) -> None:
    """Set a key unless the config is silent."""
    if value is not None:
        draft.out[key] = value


def numbers(draft: Draft, rules: Rules, inner: bool = False) -> dict[str, Any]:
    """Return the numbers of a scaling as mlx-lm reads them."""
    made = {key: value for key, value in rules.numbers.items() if value is not None}
    if rules.kind in ("yarn", "llama3"):
        made.setdefault(ORIGINAL, draft.given.get("max_position_embeddings"))
    factor = made.get("factor")
    if rules.kind == "yarn" and draft.module not in MULTIPLIED and factor and factor > 1:
        wanted = rules.attention_factor
        made["mscale"] = (wanted - 1) / (rotary.magnitude(factor, 1.0) - 1)
        made["mscale_all_dim"] = 0
    made["rope_type"] = made["type"] = rules.kind
    if inner:
        theta = rules.theta
        if theta is None:
            theta = DEFAULTS.get(draft.module, {}).get("rope_theta")
        made["rope_theta"] = theta
    return {key: value for key, value in made.items() if value is not None}


def check_rules(draft: Draft, rules: Rules) -> None:
    """Refuse a scaling that this architecture computes otherwise, or not at all."""
    computed = SCALED if draft.arguments.scales else ()
    if rules.kind != "default" and rules.kind not in KINDS_OF.get(draft.module, computed):
        refuse_kind(draft, rules)
    for key in ("factor",) if rules.kind in SCALED else ():
        if rules.numbers.get(key) is None:
            draft.wrong(f"{key} is missing; {rules.kind} needs it", *rules.path, code="W241")
    for key in NUMBERS_NEEDED.get(draft.module, ()):
        if rules.numbers.get(key) is None:
            draft.missing(key, *rules.path)
    if rules.kind == "yarn":
        check_yarn(draft, rules)
    reads = draft.module in PER_TYPE or "partial_rotary_factor" in draft.arguments.read
    own = draft.given.get("qk_rope_head_dim")  # what turns is a part of its own
    head = draft.given.get("head_dim")
    reads = reads or (type(head) is int and own == rules.partial * head)
    if rules.partial != 1 and not reads:
        what = (
            f"mlx-lm's {draft.module} turns whole heads, and partial_rotary_factor is "
            f"{rules.partial:g}"
        )
        draft.wrong(what, *rules.path, "partial_rotary_factor")


def check_yarn(draft: Draft, rules: Rules) -> None:
    """Refuse what mlx-lm's YaRN has no number for."""
    numbers = rules.numbers
    if numbers.get("truncate") is False:
        what = f"mlx-lm's {draft.module} rounds YaRN's range, and truncate is false"
        draft.wrong(what, *rules.path, "truncate")
    if draft.module in MULTIPLIED and numbers.get("attention_factor") is not None:
        what = f"mlx-lm's {draft.module} does not read YaRN's attention_factor"
        draft.wrong(what, *rules.path, "attention_factor")
    scales = [bool(numbers.get(key)) for key in ("mscale", "mscale_all_dim")]
    if draft.module in MULTIPLIED and scales[0] != scales[1]:
        what = f"mlx-lm's {draft.module} needs mscale and mscale_all_dim, or neither"
        draft.wrong(what, *rules.path, "mscale" if scales[0] else "mscale_all_dim")
    factor = numbers.get("factor")
    if factor is not None and factor <= 1 and rules.attention_factor != 1:
        what = f"mlx-lm's {draft.module} has no attention_factor at a factor of {factor:g}"
        draft.wrong(what, *rules.path, "attention_factor")


def refuse_kind(draft: Draft, rules: Rules) -> None:
    """Refuse a kind of scaling at its key."""
    what = f"mlx-lm's {draft.module} does not compute the rope scaling {show(rules.kind)}"
    key = "rope_type" if rules.path[0] == "rope_parameters" else "type"
    given = draft.given.get(rules.path[0])
    inside = given if isinstance(given, dict) else {}
    draft.wrong(what, *rules.path, *([key] if key in inside else []))

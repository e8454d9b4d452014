"""Convert rotary position embeddings to what an architecture of mlx-lm reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composer.formats.file_problems import show

from ...checkpoints.config_keys import rotary
from ...checkpoints.config_keys.rope_faults import ORIGINAL, unread_type
from ...checkpoints.config_keys.rotary import RopeRules
from ...checkpoints.config_keys.window import FULL, SLIDING
from .conventions import DEFAULTS, KINDS_OF, MULTIPLIED, NUMBERS_NEEDED, PER_TYPE
from .draft import ConfigDraft

SCALED = ("linear", "llama3", "yarn", "dynamic")


def convert_rope(draft: ConfigDraft) -> dict[str, RopeRules]:
    """Convert both forms of rope for this architecture."""
    types = draft.source.get("layer_types")
    if not isinstance(types, list):
        types = []
    rules, problems = rotary.read_rope_rules(draft.source, types)
    for path, problem in problems:
        draft.problems.append(((*draft.path, *path), problem))
    for key in rotary.SPELLINGS:
        draft.target.pop(key, None)
    if not rules:
        return rules
    for each in rules.values():
        _check_rules(draft, each)
    if draft.module in PER_TYPE:
        for each in rules.values():
            if each.theta is None:
                draft.add_missing("rope_theta", *each.path)
        by_type = _rules_by_type(draft, rules)
        draft.target["rope_parameters"] = {
            name: _numbers(draft, each, inner=True) for name, each in by_type.items()
        }
    elif "rope_local_base_freq" in draft.arguments.read:
        _convert_per_type_rope(draft, rules)
    else:
        _convert_shared_rope(draft, rules)
    return rules


def _rules_by_type(draft: ConfigDraft, rules: dict[str, RopeRules]) -> dict[str, RopeRules]:
    """Return the rules of each type of layer, if the config has one set for all."""
    if "" not in rules:
        return rules
    types = draft.source.get("layer_types") or [FULL]
    return {str(each): rules[""] for each in types if isinstance(each, str)}


def _convert_per_type_rope(draft: ConfigDraft, rules: dict[str, RopeRules]) -> None:
    """Convert separate rules for layers with and without a window, as in Gemma 3."""
    if draft.source.get("rope_parameters") and "" in rules:
        message = f"mlx-lm's {draft.module} has rope_parameters for each type of layer"
        draft.add_problem(message, "rope_parameters")
    shared = rules.get("")
    if shared and (fault := unread_type(draft.source, shared.kind, shared.path[0])):
        draft.problems.append(((*draft.path, *shared.path, "type"), fault))
    full = rules.get(FULL) or shared
    sliding = rules.get(SLIDING)
    if full is not None:
        _set_key(draft, "rope_theta", full.theta)
        if full.kind != "default":
            draft.target["rope_scaling"] = _numbers(draft, full)
    if sliding is not None:
        _set_key(draft, "rope_local_base_freq", sliding.theta)
        if sliding.kind != "default":
            _refuse_kind(draft, sliding)


def _convert_shared_rope(draft: ConfigDraft, rules: dict[str, RopeRules]) -> None:
    """Convert the rules that all layers share."""
    first, *others = rules.values()
    types = draft.source.get("layer_types") or ()
    unnamed = [name for name in rules if name and name not in types]
    if unnamed or not all(map(first.same, others)):
        message = f"mlx-lm's {draft.module} turns the positions of all types of layers alike"
        draft.add_problem(message, first.path[0])
    reads = draft.arguments.read
    _set_key(draft, "rope_theta", first.theta)
    if "rope_parameters" in reads:
        draft.target["rope_parameters"] = _numbers(draft, first, inner=True)
    if "rope_scaling" in reads and first.kind != "default":
        draft.target["rope_scaling"] = _numbers(draft, first)


def _set_key(draft: ConfigDraft, key: str, value: Any) -> None:
    """Set a key unless its value is None."""
    if value is not None:
        draft.target[key] = value


def _numbers(draft: ConfigDraft, rules: RopeRules, inner: bool = False) -> dict[str, Any]:
    """Return the numbers of a scaling as mlx-lm reads them."""
    result = _without_none(rules.numbers)
    if rules.kind in ("yarn", "llama3"):
        result.setdefault(ORIGINAL, draft.source.get("max_position_embeddings"))
    factor = result.get("factor")
    if rules.kind == "yarn" and draft.module not in MULTIPLIED and factor and factor > 1:
        attention_factor = rules.attention_factor
        result["mscale"] = (attention_factor - 1) / (rotary.yarn_mscale(factor, 1.0) - 1)
        result["mscale_all_dim"] = 0
    result["rope_type"] = result["type"] = rules.kind
    if inner:
        theta = rules.theta
        if theta is None:
            theta = DEFAULTS.get(draft.module, {}).get("rope_theta")
        result["rope_theta"] = theta
    return _without_none(result)


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _check_rules(draft: ConfigDraft, rules: RopeRules) -> None:
    """Refuse a scaling that this architecture computes differently, or not at all."""
    computed = SCALED if draft.arguments.scales else ()
    if rules.kind != "default" and rules.kind not in KINDS_OF.get(draft.module, computed):
        _refuse_kind(draft, rules)
    if rules.kind in SCALED and rules.numbers.get("factor") is None:
        draft.add_problem(f"factor is missing; {rules.kind} needs it", *rules.path, code="W241")
    for key in NUMBERS_NEEDED.get(draft.module, ()):
        if rules.numbers.get(key) is None:
            draft.add_missing(key, *rules.path)
    if rules.kind == "yarn":
        _check_yarn(draft, rules)
    reads = draft.module in PER_TYPE or "partial_rotary_factor" in draft.arguments.read
    rope_head_dim = draft.source.get("qk_rope_head_dim")  # what turns is a part of its own
    head = draft.source.get("head_dim")
    reads = reads or (type(head) is int and rope_head_dim == rules.partial * head)
    if rules.partial != 1 and not reads:
        message = (
            f"mlx-lm's {draft.module} turns whole heads, and partial_rotary_factor is "
            f"{rules.partial:g}"
        )
        draft.add_problem(message, *rules.path, "partial_rotary_factor")


def _check_yarn(draft: ConfigDraft, rules: RopeRules) -> None:
    """Refuse settings that mlx-lm's YaRN does not have."""
    numbers = rules.numbers
    if numbers.get("truncate") is False:
        message = f"mlx-lm's {draft.module} rounds YaRN's range, and truncate is false"
        draft.add_problem(message, *rules.path, "truncate")
    if draft.module in MULTIPLIED and numbers.get("attention_factor") is not None:
        message = f"mlx-lm's {draft.module} does not read YaRN's attention_factor"
        draft.add_problem(message, *rules.path, "attention_factor")
    mscale, everywhere = bool(numbers.get("mscale")), bool(numbers.get("mscale_all_dim"))
    if draft.module in MULTIPLIED and mscale != everywhere:
        message = f"mlx-lm's {draft.module} needs mscale and mscale_all_dim, or neither"
        key = "mscale" if mscale else "mscale_all_dim"
        draft.add_problem(message, *rules.path, key)
    factor = numbers.get("factor")
    if factor is not None and factor <= 1 and rules.attention_factor != 1:
        message = f"mlx-lm's {draft.module} has no attention_factor at a factor of {factor:g}"
        draft.add_problem(message, *rules.path, "attention_factor")


def _refuse_kind(draft: ConfigDraft, rules: RopeRules) -> None:
    """Refuse a kind of scaling at its key."""
    message = f"mlx-lm's {draft.module} does not compute the rope scaling {show(rules.kind)}"
    path = list(rules.path)
    key = "rope_type" if path[0] == "rope_parameters" else "type"
    source = draft.source.get(path[0])
    if isinstance(source, dict) and key in source:
        path.append(key)
    draft.add_problem(message, *path)

"""Read how positions turn, in either spelling: `rope_theta` and `rope_scaling`, or
`rope_parameters`, for all layers or for each type of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import log
from typing import Any

from composer.core.errors import Problem
from composer.formats.file_problems import show, show_bare

from .key_positions import Placed
from .rope_faults import NESTED, ORIGINAL, beyond, contradiction, odd, other_length
from .window import FULL

SPELLINGS = frozenset(("rope_theta", *NESTED))
NUMBERS = frozenset(
    """
    attention_factor beta_fast beta_slow factor high_freq_factor llama_4_scaling_beta long_factor
    low_freq_factor max_position_embeddings mscale mscale_all_dim original_max_position_embeddings
    partial_rotary_factor rope_theta rope_type short_factor truncate type mrope_section
    mrope_interleaved interleaved
    """.split()
)
SCALARS = NUMBERS - {
    "long_factor", "short_factor", "truncate", "mrope_section", "mrope_interleaved", "interleaved",
}  # fmt: skip
KEEP = "if it changes nothing in these weights, name it in `ignore` of the component's config"


@dataclass(frozen=True)
class RopeRules:
    """How positions turn: the base, the kind of scaling, and the numbers that it takes.

    `path` is where the config says so; `theta` is None where it says nothing.
    """

    theta: float | None
    kind: str
    numbers: Mapping[str, Any]
    path: tuple[str, ...]

    @property
    def partial(self) -> float:
        """Return which part of a head turns."""
        share = self.numbers.get("partial_rotary_factor")
        return 1.0 if share is None else float(share)

    @property
    def attention_factor(self) -> float:
        """Return what YaRN multiplies queries and keys by, as transformers computes it."""
        stated = self.numbers.get("attention_factor")
        if stated is not None:
            return float(stated)
        factor = float(self.numbers.get("factor") or 1.0)
        scale, everywhere = self.numbers.get("mscale"), self.numbers.get("mscale_all_dim")
        if scale and everywhere:
            return yarn_mscale(factor, scale) / yarn_mscale(factor, everywhere)
        return yarn_mscale(factor, 1.0)

    def same(self, other: RopeRules) -> bool:
        """Return whether both turn positions alike."""
        return (self.theta, self.kind, self.numbers) == (other.theta, other.kind, other.numbers)


def yarn_mscale(factor: float, scale: float) -> float:
    """Return YaRN's growth of attention: 0.1 * scale * ln(factor) + 1, or 1 without growth."""
    if factor <= 1:
        return 1.0
    return 0.1 * scale * log(factor) + 1.0


def read_rope_rules(
    config: Mapping[str, Any], layer_types: Iterable[str] = ()
) -> tuple[dict[str, RopeRules], list[Placed]]:
    """Return the rules of each type of layer, `""` for all, and each problem with its path."""
    problems: list[Placed] = []
    given = {}
    for key in NESTED:
        value = config.get(key)
        if isinstance(value, dict):
            given[key] = value
        elif value is not None:
            problems.append(((key,), odd(f"{key} is {show(str(value))}; expected an object")))
    if problems:
        return {}, problems
    if len(given) == 2 and (fault := contradiction(given)):
        problems.append((("rope_scaling",), fault))
    elif len(given) == 2 and (fault := beyond(given, config)):
        problems.append((("rope_parameters",), fault))
    key = "rope_scaling" if given.get("rope_scaling") else "rope_parameters"
    rules = given.get(key) or {}
    types = _types_of_layers(rules, {*layer_types})
    if not types:
        if "rope_theta" not in rules:
            other = given.get("rope_parameters") or {}
            rules = {**rules, "rope_theta": other.get("rope_theta")}
        return {"": _rules(config, rules, (key,), problems)}, problems
    if rest := sorted(rules.keys() - {*types}):
        problems.append(((key, rest[0]), odd(f"{key} holds types of layers and {', '.join(rest)}")))
    return {name: _rules(config, rules[name], (key, name), problems) for name in types}, problems


def _types_of_layers(rules: Mapping[str, Any], layer_types: Collection[str]) -> list[str]:
    """Return the types of layers that have rules of their own, those of the model first."""
    present, others = [], []
    for name, value in rules.items():
        if not isinstance(value, dict):
            continue
        if name in layer_types:
            present.append(name)
        elif name.endswith("_attention"):
            others.append(name)
    return present + others


def _rules(
    config: Mapping[str, Any],
    given: Mapping[str, Any],
    path: tuple[str, ...],
    problems: list[Placed],
) -> RopeRules:
    named = []
    for key in ("rope_type", "type"):
        kind = given.get(key)
        if isinstance(kind, str):
            named.append(kind)
        elif kind is not None:
            problems.append((path, odd(f"rope_type is {show(str(kind))}; expected a name")))
    if not named and given.get("factor") not in (None, 1) and {"rope_type", "type"} & given.keys():
        problems.append((path, odd("rope_type is null beside a factor; expected a name")))
    scaled = [kind for kind in named if kind not in ("default", "mrope")]
    if scaled and len({*named}) == 2:
        message = f"rope_type is {show(named[0])} and type is {show(named[1])}"
        problems.append(((*path, "rope_type"), odd(message)))
    for key in given:
        if key not in NUMBERS and given[key] is not None:
            what = f"nothing here reads {show(key)} of {'.'.join(path)}"
            problems.append(((*path, key), Problem("W257", what, hint=KEEP)))
    numbers = dict(given)
    for key in ("rope_type", "type", "rope_theta"):
        numbers.pop(key, None)
    kind = scaled[0] if scaled else "default"
    if kind in ("llama3", "longrope", "yarn") and (fault := other_length(config, numbers, path)):
        problems.append(((ORIGINAL,), fault))
    for key in ("partial_rotary_factor", ORIGINAL):
        if numbers.get(key) is None and config.get(key) is not None:
            numbers[key] = config[key]
    # A base outside of the rules is that of layers which see everything.
    all_layers = len(path) == 1
    outer, theta = None, given.get("rope_theta")
    if all_layers or path[-1] == FULL:
        outer = config.get("rope_theta")
    if all_layers and None not in (outer, theta) and outer != theta:
        message = f"rope_theta is {show_bare(outer)} and, in {path[0]}, {show_bare(theta)}"
        problems.append((("rope_theta",), Problem("W241", message)))
    if theta is None:
        theta = outer
    scalars = {name: value for name, value in numbers.items() if name in SCALARS}
    scalars["rope_theta"] = theta
    for name, value in scalars.items():
        if value is not None and (type(value) not in (int, float) or not 0 <= value < 2**60):
            message = f"{name} is {show_bare(value)}; expected a number above 0"
            problems.append(((*path, name), Problem("W241", message)))
            numbers[name] = 1.0
    return RopeRules(theta, kind, numbers, path)


def max_positions(config: Mapping[str, Any], rules: Mapping[str, RopeRules]) -> int | None:
    """Return how many positions a decoder takes: the scaled limit where positions are scaled.

    `dynamic` turns as trained up to the limit and depends on the length beyond it, so that it is
    not scaled.
    """
    limit = config.get("max_position_embeddings")
    if type(limit) is not int:
        return None
    longest = limit
    for each in rules.values():
        factor, original = each.numbers.get("factor"), each.numbers.get(ORIGINAL)
        if each.kind not in ("linear", "yarn", "llama3") or type(factor) not in (int, float):
            continue
        trained = original if type(original) is int and each.kind != "linear" else limit
        longest = max(longest, int(trained * float(factor or 1)))
    return longest

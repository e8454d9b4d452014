"""Read a decoder's config, and refuse what its graph would not compute."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from composer.core.errors import Problem
from composer.formats.refusal import show

from .. import rope
from ..checkpoint import setting
from ..keys.meaning import unread
from ..keys.rotary import ORIGINAL, Rules, positions, read_rules
from ..keys.window import KEYS, Window, read_window
from .rotary import Llama3, Rotary, Yarn

KINDS = ("llama", "qwen2", "qwen3")
BASE = 10_000.0  # where the config leaves it out, as in transformers
OWN = """
    attention_bias head_dim hidden_act hidden_size intermediate_size max_position_embeddings
    mlp_bias num_attention_heads num_hidden_layers num_key_value_heads partial_rotary_factor
    rms_norm_eps rope_parameters rope_scaling rope_theta tie_word_embeddings vocab_size
"""
READ = KEYS | frozenset(OWN.split())
TAKES = "mlx.lm takes what mlx-lm knows"
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Settings:
    """The sizes of a decoder; `biased` are the projections that add one, `normed` those of q, k."""

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    epsilon: float
    rotary: Rotary
    normed: bool
    biased: frozenset[str]
    positions: int | None = None


def read_settings(
    config: Mapping[str, Any], width: int, ignore: Collection[str] = ()
) -> tuple[Settings | None, list[Problem]]:
    """Return the settings, or every problem that a config has; `ignore` are keys without effect."""
    reading = _Reading(config, ignore)
    made = reading.settings(width)
    return (None, reading.problems) if reading.problems else (made, [])


@dataclass
class _Reading:
    config: Mapping[str, Any]
    ignore: Collection[str] = ()
    positions: int | None = None
    problems: list[Problem] = field(default_factory=list)

    def settings(self, width: int) -> Settings | None:
        kind = self.config.get("model_type")
        if kind not in KINDS:
            self.refuse(f"onnx.lm has no graph for the model_type {show(str(kind))}")
            return None
        self.problems += rope.faults(self.config)
        self.problems += self.strange(kind)
        heads = self.count("num_attention_heads")
        kv_heads = self.count("num_key_value_heads", heads)
        head = self.count("head_dim", width // heads)
        if heads % kv_heads:
            self.wrong(f"{heads} heads cannot share {kv_heads} heads of keys")
        if head % 2:
            self.wrong(f"head_dim is {head}; positions turn pairs of numbers")
        return Settings(
            self.count("num_hidden_layers"),
            width,
            self.count("intermediate_size"),
            heads,
            kv_heads,
            head,
            self.real("rms_norm_eps"),
            self.rotary(kind, head),
            kind == "qwen3",
            self.biased(kind),
            self.positions,
        )

    def refuse(self, message: str) -> None:
        self.problems.append(Problem("W254", message, hint=f"use mlx.lm: {TAKES}"))

    def wrong(self, message: str) -> None:
        self.problems.append(Problem("W241", message))

    def count(self, key: str, default: int | None = None) -> int:
        value = setting(self.config, key)
        if value is None and default is not None:
            return max(default, 1)
        if type(value) is int and 0 < value <= 2**24:
            return value
        said = "missing" if value is None else show(str(value))[1:-1]
        self.wrong(f"{key} is {said}; expected a whole number from 1")
        return 2

    def real(self, key: str, default: float | None = None, inside: Any = None) -> float:
        value = setting(self.config, key) if inside is None else inside.get(key)
        if value is None and default is not None:
            return default
        if type(value) in (int, float) and 0 < value <= 1e18 and isfinite(value):
            return float(value)
        said = "missing" if value is None else show(str(value))[1:-1]
        self.wrong(f"{key} is {said}; expected a number above 0")
        return 1.0

    def strange(self, kind: str) -> Iterator[Problem]:
        """Report what would make another model of the same tensors."""
        act = setting(self.config, "hidden_act")
        odd = [] if act in (None, "silu", "swish") else [f"hidden_act {show(str(act))[1:-1]}"]
        given = {k: v for k, v in self.config.items() if k not in self.ignore}
        seen = read_window(given, kind, self.count("num_hidden_layers", 1))
        limit = self.config.get("max_position_embeddings")
        short = isinstance(seen, Window) and type(limit) is int and seen.size < limit
        if isinstance(seen, str) or short:
            types = given.get("layer_types")
            odd.append("layer_types other than full_attention" if types else "use_sliding_window")
        odd += [f"{key} {show(str(given[key]))[1:-1]}" for key in unread(given, READ)]
        for each in odd:
            yield Problem(
                "W254", f"onnx.lm has no graph of {kind} for {each}", hint=f"use mlx.lm: {TAKES}"
            )

    def biased(self, kind: str) -> frozenset[str]:
        attention = setting(self.config, "attention_bias") is True
        names = ATTENTION if attention else ATTENTION[:3] if kind == "qwen2" else ()
        more = MLP if kind == "llama" and setting(self.config, "mlp_bias") is True else ()
        return frozenset((*names, *more))

    def rotary(self, kind: str, head: int) -> Rotary:
        """Read base and scaling in either spelling, as transformers does."""
        config = rope.plain(self.config)
        found, problems = read_rules(config)
        self.problems += [problem for _, problem in problems]
        if list(found) != [""]:
            if found:
                self.refuse("onnx.lm turns the positions of all layers alike")
            return Rotary(head, 1.0)
        rules = found[""]
        self.positions = positions(config, found)
        base = self.real("rope_theta", BASE, {"rope_theta": rules.theta})
        return Rotary(head, base, self.scaling(rules))

    def scaling(self, rules: Rules) -> float | Llama3 | Yarn:
        numbers = {key: value for key, value in rules.numbers.items() if value is not None}
        trained = numbers.setdefault(ORIGINAL, setting(self.config, "max_position_embeddings"))
        if rules.partial != 1:
            self.refuse("onnx.lm turns whole heads, and partial_rotary_factor says a part")
        if rules.kind in ("default", "dynamic"):  # alike up to the limit, which stays as trained
            return 1.0
        if rules.kind not in ("linear", "llama3", "yarn"):
            self.refuse(f"onnx.lm does not compute the rope scaling {show(rules.kind)}")
            return 1.0
        factor = self.real("factor", None, numbers)
        if rules.kind == "linear":
            return factor
        if rules.kind == "yarn":
            fast = self.real("beta_fast", 32.0, numbers)
            slow = self.real("beta_slow", 1.0, numbers)
            original = self.real(ORIGINAL, None, {ORIGINAL: trained})
            rounded = numbers.get("truncate", True) is not False
            return Yarn(factor, original, fast, slow, rounded, rules.attention_factor)
        low = self.real("low_freq_factor", 1.0, numbers)
        high = self.real("high_freq_factor", 4.0, numbers)
        if high <= low:
            self.wrong(f"high_freq_factor is {high:g}, not above low_freq_factor {low:g}")
        return Llama3(factor, low, high, self.real(ORIGINAL, 8192.0, numbers))

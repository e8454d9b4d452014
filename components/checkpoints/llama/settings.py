"""Read a decoder's config, and refuse what its graph would not compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from composer.core.errors import Problem
from composer.formats.refusal import show

from .. import rope
from ..checkpoint import setting
from .rotary import Llama3, Rotary

KINDS = ("llama", "qwen2", "qwen3")
BASES = {"llama": 10_000.0, "qwen2": 1_000_000.0}  # where the config leaves it out, as in mlx-lm
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


def read_settings(config: Mapping[str, Any], width: int) -> tuple[Settings | None, list[Problem]]:
    """Return the settings, or every problem that a config has."""
    reading = _Reading(config)
    made = reading.settings(width)
    return (None, reading.problems) if reading.problems else (made, [])


@dataclass
class _Reading:
    config: Mapping[str, Any]
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
        self.wrong(f"{key} is {said}; wanted a whole number from 1")
        return 2

    def real(self, key: str, default: float | None = None, inside: Any = None) -> float:
        value = setting(self.config, key) if inside is None else inside.get(key)
        if value is None and default is not None:
            return default
        if type(value) in (int, float) and 0 < value <= 1e18 and isfinite(value):
            return float(value)
        said = "missing" if value is None else show(str(value))[1:-1]
        self.wrong(f"{key} is {said}; wanted a number above 0")
        return 1.0

    def strange(self, kind: str) -> Iterator[Problem]:
        """Report what would make another model of the same tensors."""
        plain = {
            "hidden_act": (None, "silu"),
            "partial_rotary_factor": (None, 1, 1.0),
            "rope_traditional": (None, False),
            "use_sliding_window": (None, False),
            "mlp_bias": (None, False, True),
            "attention_bias": (None, False, True),
        }
        said = {key: setting(self.config, key) for key in plain}
        odd = [
            f"{key} {show(str(said[key]))[1:-1]}" for key in plain if said[key] not in plain[key]
        ]
        types = setting(self.config, "layer_types")
        if types is not None and (
            not isinstance(types, list) or any(each != "full_attention" for each in types)
        ):
            odd.append("layer_types other than full_attention")
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
        """Read base and scaling; as in mlx-lm, rope_scaling comes before rope_parameters."""
        config = rope.plain(self.config)
        nested = setting(config, "rope_parameters")
        rules = setting(config, "rope_scaling") or nested or {}
        if not all(isinstance(each, dict) for each in (rules, nested or {})):
            self.wrong("rope_scaling and rope_parameters are objects")
            return Rotary(head, 1.0)
        bases = [setting(config, "rope_theta"), (nested or {}).get("rope_theta")]
        said = [base for base in bases if base is not None]
        if len(said) == 2 and said[0] != said[1]:
            self.wrong(f"rope_theta is {show(str(said[0]))[1:-1]} and, in rope_parameters, "
                       f"{show(str(said[1]))[1:-1]}")  # fmt: skip
        base = self.real("rope_theta", BASES.get(kind), {"rope_theta": said[0] if said else None})
        return Rotary(head, base, self.scaling(rules))

    def scaling(self, rules: dict[str, Any]) -> float | Llama3:
        name = rules.get("type") or rules.get("rope_type") or "default"
        if rules.get("partial_rotary_factor") not in (None, 1, 1.0):
            self.refuse("onnx.lm turns whole heads, and partial_rotary_factor says a part")
        if name == "default":
            return 1.0
        if name == "linear":
            return self.real("factor", None, rules)
        if name != "llama3":
            self.refuse(f"onnx.lm does not compute the rope scaling {show(str(name))}")
            return 1.0
        low = self.real("low_freq_factor", 1.0, rules)
        high = self.real("high_freq_factor", 4.0, rules)
        if high <= low:
            self.wrong(f"high_freq_factor is {high:g}, not above low_freq_factor {low:g}")
        original = self.real("original_max_position_embeddings", 8192.0, rules)
        return Llama3(self.real("factor", None, rules), low, high, original)

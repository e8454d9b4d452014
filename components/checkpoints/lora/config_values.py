"""Read the values of an adapter's config, and note what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from composer.core.errors import Place, Problem
from composer.core.location import Location
from composer.core.problems import Problems
from composer.formats.file_problems import show

from .scaling import PLAIN
from .thinker import BEFORE_LAYERS

ELSEWHERE = "the update is not that of plain LoRA"
BY_PEFT = "only an adapter_config.json of PEFT or mlx-lm gives it a meaning"
FAN_IN = "fan_in_fan_out"
REASONS = {
    "use_dora": BY_PEFT,
    "rank_pattern": BY_PEFT,
    "alpha_pattern": BY_PEFT,
    "bias": "the base's biases were trained too, which cannot be switched off exactly",
    "lora_bias": ELSEWHERE,
    "modules_to_save": "whole modules of the base were trained too",
    FAN_IN: "the base that it was trained on stores its weights transposed",
    "init_lora_weights": "the base's weights were changed before it was trained",
    "layer_replication": "the base that it was trained on repeats layers",
}
BASES = ("", "model.", "model.language_model.", "language_model.model.")  # before its layers
SAME = {"bias": ("none",), "init_lora_weights": (True, "gaussian", "eva", "orthogonal")}


class ConfigValues:
    """One config; `problems` are all that is malformed or not supported in it."""

    def __init__(self, file: Location, config: Mapping[str, Any]) -> None:
        self.file = file
        self.config = config
        self.problems = Problems(place=Place(str(file)))
        self.report = self.problems.report

    def note(self, message: str) -> Problem:
        return Problem("L328", message, Place(str(self.file)), severity="warning")

    def pattern(self, key: str, kind: Any) -> dict[str, Any]:
        """Return a number for each of some modules; their names are compared, no pattern is run."""
        value = self.config.get(key)
        if not value:
            return {}
        if not isinstance(value, dict) or not _all_positive(value.values(), kind):
            self.report("W287", f"{key} is {show(str(value))}; expected a number for each module")
            return {}
        for name in value:
            before = name.partition("layers.")[0]
            if before != name and before not in (*BASES, *BEFORE_LAYERS):
                self.report(
                    "W286",
                    f"{key} names {show(name)}, which PEFT does not find in a decoder",
                    hint=f"write it without {show(before)}, if the adapter was trained so",
                )
            if not PLAIN.fullmatch(name):
                self.report(
                    "W286",
                    f"{key} names modules by the pattern {show(name)}, which is not run",
                    hint="name them by the end of their paths, such as self_attn.q_proj",
                )
        return value

    def flag(self, key: str) -> bool:
        """Return true or false; false where the config is silent."""
        value = self.config.get(key)
        if value is not None and not isinstance(value, bool):
            self.report("W287", f"{key} is {show(str(value))}; expected true or false")
        return value is True

    def refuse_effect(self, key: str, value: Any) -> None:
        """Refuse a setting that is on and would change what the adapter does."""
        if value and value not in SAME.get(key, ()):
            why = REASONS.get(key, "composer does not know what that does")
            self.report("W286", f"{key} is {show(str(value))}: {why}")

    def ranks(self, config: Mapping[str, Any], keys: Iterable[str], at: str = "") -> dict[str, int]:
        found = {}
        for key in keys:
            rank = self.whole(config, key, least=1)
            if rank is not None:
                found[at + key] = rank
        return found

    def scales(
        self, config: Mapping[str, Any], keys: Iterable[str], at: str = ""
    ) -> dict[str, float]:
        found = {}
        for key in keys:
            value = config.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool):
                found[at + key] = float(value)
            elif value is not None:
                self.report("W287", f"{key} is {show(str(value))}; expected a number")
        return found

    def whole(self, config: Mapping[str, Any], key: str, least: int) -> int | None:
        value = config.get(key)
        if value is None or (type(value) is int and value >= least):
            return value
        self.report("W287", f"{key} is {show(str(value))}; expected a whole number from {least}")
        return None

    def names(self, config: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
        value = config.get(key)
        if value is None:
            return None
        listed = [value] if isinstance(value, str) else value
        if isinstance(listed, list) and all(isinstance(name, str) and name for name in listed):
            return tuple(listed)
        self.report("W287", f"{key} is {show(str(value))}; expected a list of names")
        return None

    def layers(self, value: Any) -> tuple[int, ...] | None:
        listed = value if isinstance(value, list) else [value]
        if value is None or not listed:
            return None
        if all(type(each) is int and each >= 0 for each in listed):
            return tuple(listed)
        wanted = "expected layers by number"
        self.report("W287", f"layers_to_transform is {show(str(value))}; {wanted}")
        return None


def _all_positive(values: Iterable[Any], kind: Any) -> bool:
    for value in values:
        if not isinstance(value, kind) or isinstance(value, bool) or value <= 0:
            return False
    return True

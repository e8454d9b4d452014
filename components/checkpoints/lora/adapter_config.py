"""What the config beside an adapter says: mlx-lm's, PEFT's, or a release's lora_config.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.core.suggest import some
from composer.formats.refusal import show

MLX_LM, RELEASE = "adapter_config.json", "lora_config.json"
RANKS, SCALES = ("rank", "lora_rank", "r"), ("scale", "lora_scale")
ALPHAS = ("alpha", "lora_alpha")
TARGETS = ("target_names", "lora_target_names", "target_modules", "keys")
READ = {*RANKS, *SCALES, *ALPHAS, *TARGETS, "num_layers", "dropout", "lora_dropout"}

ELSEWHERE = "the update is not that of plain LoRA"
REASONS = {
    "use_dora": "DoRA scales the base's weights too, which cannot be switched off exactly",
    "bias": "the base's biases were trained too, which cannot be switched off exactly",
    "lora_bias": ELSEWHERE,
    "modules_to_save": "whole modules of the base were trained too",
    "rank_pattern": "ranks that differ from module to module are not supported",
    "alpha_pattern": "scales that differ from module to module are not supported",
    "fan_in_fan_out": "the base that it was trained on stores its weights transposed",
    "init_lora_weights": "the base's weights were changed before it was trained",
    "layer_replication": "the base that it was trained on repeats layers",
}
# What these say changes nothing once an adapter is trained.
PEFT = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config",
    "inference_mode", "loftq_config", "lora_dropout", "lora_ga_config", "megatron_core",
    "peft_type", "peft_version", "qalora_group_size", "revision", "runtime_config", "task_type",
    # and these are read
    "exclude_modules", "layers_pattern", "layers_to_transform", "lora_alpha", "r",
    "target_modules", "use_rslora",
}  # fmt: skip
SAME = {"bias": ("none",), "init_lora_weights": (True, "gaussian", "eva", "orthogonal")}


@dataclass(frozen=True)
class AdapterConfig:
    """What one config says of its adapter; empty or None where it is silent.

    `ranks` and `scales` go by the keys that say them. `targets` and `excluded` name modules by
    their paths or by the ends of these. `layers` are numbers; `last` counts from the last layer,
    and 0 means all. `pattern` says that they were chosen by one, which is not run.
    """

    file: Location
    ranks: Mapping[str, int]
    scales: Mapping[str, float]
    targets: tuple[str, ...] | None = None
    excluded: tuple[str, ...] = ()
    layers: tuple[int, ...] | None = None
    last: int | None = None
    pattern: bool = False
    notes: tuple[Problem, ...] = ()


def read_adapter_config(file: Location, config: Mapping[str, Any]) -> AdapterConfig:
    """Read a config; raise ComposerError for all that is malformed or not supported."""
    reading = _Reading(file, config)
    if "peft_type" in config:
        said = reading.peft()
    elif file.inside.rpartition("/")[2] == MLX_LM:
        said = reading.mlx_lm()
    else:
        said = reading.release()
    if reading.problems:
        raise ComposerError(reading.problems)
    return said


class _Reading:
    def __init__(self, file: Location, config: Mapping[str, Any]) -> None:
        self.file = file
        self.config = config
        self.problems: list[Problem] = []

    def report(self, code: str, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(code, message, Place(str(self.file)), hint=hint))

    def note(self, message: str) -> Problem:
        return Problem("L328", message, Place(str(self.file)), severity="warning")

    def mlx_lm(self) -> AdapterConfig:
        kind = self.config.get("fine_tune_type", "lora")
        if kind != "lora":
            why = {
                "dora": REASONS["use_dora"],
                "full": "it holds whole weights, which are no adapter",
            }.get(kind, "the kind is not known")
            self.report("W286", f"fine_tune_type is {show(str(kind))}: {why}")
        inner = self.config.get("lora_parameters")
        if not isinstance(inner, dict):
            self.report("W287", "lora_parameters should be an object with rank and scale")
            inner = {}
        unread = sorted(inner.keys() - {"rank", "scale", "dropout", "keys"})
        notes = [self.note(f"lora_parameters has {some(unread)}, which mlx-lm does not read")]
        return AdapterConfig(
            self.file,
            self.ranks(inner, ("rank",), "lora_parameters."),
            self.scales(inner, ("scale",), "lora_parameters."),
            self.names(inner, "keys"),
            last=self.whole(self.config, "num_layers", least=-1),
            notes=tuple(notes) if unread else (),
        )

    def release(self) -> AdapterConfig:
        for key in REASONS.keys() & self.config.keys():
            self.hold(key, self.config[key])
        ranks = self.ranks(self.config, RANKS)
        scales = self.scales(self.config, SCALES)
        for key, alpha in self.scales(self.config, ALPHAS).items():
            scales |= {f"{key} / {rank}": alpha / value for rank, value in ranks.items()}
        named = [names for key in TARGETS if (names := self.names(self.config, key)) is not None]
        unread = sorted(self.config.keys() - READ - REASONS.keys())
        return AdapterConfig(
            self.file,
            ranks,
            scales,
            tuple(dict.fromkeys(name for names in named for name in names)) if named else None,
            last=self.whole(self.config, "num_layers", least=-1),
            notes=(self.note(f"nothing reads {some(unread)}"),) if unread else (),
        )

    def peft(self) -> AdapterConfig:
        config = self.config
        if config["peft_type"] != "LORA":
            self.report("W286", f"peft_type is {show(str(config['peft_type']))}; expected 'LORA'")
        for key in sorted(config.keys() - PEFT):
            self.hold(key, config[key])
        if config.get("layers_pattern") not in (None, [], "", "layers", ["layers"]):
            self.report(
                "W286",
                f"layers_pattern is {show(str(config['layers_pattern']))}; expected 'layers'",
            )
        ranks = self.ranks(config, ("r",))
        root = config.get("use_rslora") is True
        scales = {
            "lora_alpha / sqrt(r)" if root else "lora_alpha / r": alpha
            / (rank**0.5 if root else rank)
            for alpha in self.scales(config, ("lora_alpha",)).values()
            for rank in ranks.values()
        }
        patterns = [
            key
            for key in ("target_modules", "exclude_modules")
            if isinstance(config.get(key), str) and config[key] != "all-linear"
        ]
        read = {
            key: config[key] for key in PEFT & config.keys() if not isinstance(config[key], str)
        }
        layers = self.layers(config.get("layers_to_transform"))
        return AdapterConfig(
            self.file,
            ranks,
            scales,
            self.names(read, "target_modules"),
            self.names(read, "exclude_modules") or (),
            layers,
            0,
            bool(patterns),
            tuple(
                self.note(f"{key} is the pattern {show(config[key])}, which is not run")
                for key in patterns
            ),
        )

    def hold(self, key: str, value: Any) -> None:
        """Refuse a setting that is on and would change what the adapter does."""
        if value and value not in SAME.get(key, ()):
            why = REASONS.get(key, "composer does not know what that does")
            self.report("W286", f"{key} is {show(str(value))}: {why}")

    def ranks(self, config: Mapping[str, Any], keys: Iterable[str], at: str = "") -> dict[str, int]:
        found = {at + key: self.whole(config, key, least=1) for key in keys}
        return {key: rank for key, rank in found.items() if rank is not None}

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
        listed = [value] if isinstance(value, str) else value
        if value is None:
            return None
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

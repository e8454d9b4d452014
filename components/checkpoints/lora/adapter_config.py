"""What the config beside an adapter says: mlx-lm's, PEFT's, or a release's lora_config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.core.location import Location
from composer.core.suggest import some
from composer.formats.file_problems import show

from .config_values import REASONS, ConfigValues
from .scaling import LoraScaling

MLX_LM, RELEASE = "adapter_config.json", "lora_config.json"
INLINE = {"r", "lora_alpha", "use_rslora", "layer", "dp"}  # dp is a dropout, layer a pattern
RANKS, SCALES = ("rank", "lora_rank", "r"), ("scale", "lora_scale")
ALPHAS = ("alpha", "lora_alpha")
TARGETS = ("target_names", "lora_target_names", "target_modules", "keys")
READ = {*RANKS, *SCALES, *ALPHAS, *TARGETS, "num_layers", "dropout", "lora_dropout"}

# What these say changes nothing once an adapter is trained.
PEFT = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "eva_config", "inference_mode",
    "loftq_config", "lora_dropout", "lora_ga_config", "megatron_core",
    "peft_type", "peft_version", "qalora_group_size", "revision", "runtime_config", "task_type",
    # and these are read
    "alpha_pattern", "exclude_modules", "layers_pattern", "layers_to_transform", "lora_alpha",
    "fan_in_fan_out", "modules_to_save", "r", "rank_pattern", "target_modules", "use_dora",
    "use_rslora",
}  # fmt: skip

# What mlx-lm's trainer writes down of its settings; the last three are read.
TRAINING = {
    "adapter_path", "batch_size", "clear_cache_threshold", "config", "data",
    "grad_accumulation_steps", "grad_checkpoint", "iters", "learning_rate", "lr_schedule",
    "mask_prompt", "max_seq_length", "model", "optimizer", "optimizer_config", "project_name",
    "report_to", "resume_adapter_file", "save_every", "seed", "steps_per_eval", "steps_per_report",
    "test", "test_batches", "train", "trust_remote_code", "val_batches", "wandb",
    "fine_tune_type", "lora_parameters", "num_layers",
}  # fmt: skip


@dataclass(frozen=True)
class AdapterConfig:
    """What one config says of its adapter; empty or None where it is silent.

    `ranks` and `scales` go by the keys that say them. `targets` and `excluded` name modules by
    their paths or by the ends of these. `layers` are numbers; `last` counts from the last layer,
    and 0 means all. `pattern` says that they were chosen by one, which is not run. `scaling` gives
    modules their own rank and scale; `dora` says that each has a magnitude too. `saved` are the
    ends of paths of modules that were trained whole; `tied` says that tied embeddings stayed so;
    `transposed` that the base's weights were [in, out].
    """

    file: Location
    ranks: Mapping[str, int]
    scales: Mapping[str, float]
    targets: tuple[str, ...] | None = None
    excluded: tuple[str, ...] = ()
    layers: tuple[int, ...] | None = None
    last: int | None = None
    pattern: bool = False
    scaling: LoraScaling | None = None
    dora: bool = False
    notes: tuple[Problem, ...] = ()
    saved: tuple[str, ...] = ()
    tied: bool = False
    transposed: bool = False


def parse_adapter_config(file: Location, config: Mapping[str, Any]) -> AdapterConfig:
    """Read a config; raise ComposerError for all that is malformed or not supported."""
    values = ConfigValues(file, config)
    if "peft_type" in config:
        read = _peft(values)
    elif file.inside.rpartition("/")[2] == MLX_LM:
        read = _mlx_lm(values)
    else:
        read = _release(values)
    if values.problems:
        raise ComposerError(values.problems)
    return read


def parse_inline_config(
    file: Location, config: Mapping[str, Any], adapter: str
) -> AdapterConfig | None:
    """Read what a checkpoint's config.json says of an adapter inside it, as `speech_lora`.

    Return None where it says nothing; raise ComposerError for all that is malformed.
    """
    found = config.get(f"{adapter}_lora")
    if found is None:
        return None
    values = ConfigValues(file, found if isinstance(found, dict) else {})
    if not isinstance(found, dict):
        values.report("W287", f"{adapter}_lora should be an object with r and lora_alpha")
    for key in sorted(values.config.keys() - INLINE):
        values.refuse_effect(key, values.config[key])
    ranks, scales, _ = _peft_scales(values)
    if values.problems:
        raise ComposerError(values.problems)
    return AdapterConfig(file, ranks, scales, pattern=True)


def _peft_scales(
    values: ConfigValues,
) -> tuple[dict[str, int], dict[str, float], dict[str, float]]:
    """Return PEFT's rank, the scale that follows from it and alpha, and alpha, by their keys."""
    ranks = values.ranks(values.config, ("r",))
    alphas = values.scales(values.config, ("lora_alpha",))
    scales = {}
    for alpha in alphas.values():
        for rank in ranks.values():
            if values.flag("use_rslora"):
                scales["lora_alpha / sqrt(r)"] = alpha / rank**0.5
            else:
                scales["lora_alpha / r"] = alpha / rank
    return ranks, scales, alphas


def _mlx_lm(values: ConfigValues) -> AdapterConfig:
    kind = values.config.get("fine_tune_type", "lora")
    if kind not in ("lora", "dora"):
        why = "the kind is not known"
        if kind == "full":
            why = "it holds whole weights, which are no adapter"
        values.report("W286", f"fine_tune_type is {show(str(kind))}: {why}")
    inner = values.config.get("lora_parameters")
    if not isinstance(inner, dict):
        values.report("W287", "lora_parameters should be an object with rank and scale")
        inner = {}
    for key in sorted(values.config.keys() - TRAINING):
        values.report(
            "W286",
            f"{key} is {show(str(values.config[key]))}: mlx-lm neither writes nor reads that",
            hint="remove it if the adapter was trained without",
        )
    notes = []
    if unread := sorted(inner.keys() - {"rank", "scale", "dropout", "keys"}):
        notes.append(values.note(f"lora_parameters has {some(unread)}, which mlx-lm does not read"))
    return AdapterConfig(
        values.file,
        values.ranks(inner, ("rank",), "lora_parameters."),
        values.scales(inner, ("scale",), "lora_parameters."),
        values.names(inner, "keys"),
        last=values.whole(values.config, "num_layers", least=-1),
        dora=kind == "dora",
        notes=tuple(notes),
    )


def _release(values: ConfigValues) -> AdapterConfig:
    for key in REASONS.keys() & values.config.keys():
        values.refuse_effect(key, values.config[key])
    ranks = values.ranks(values.config, RANKS)
    scales = values.scales(values.config, SCALES)
    for key, alpha in values.scales(values.config, ALPHAS).items():
        for rank, value in ranks.items():
            scales[f"{key} / {rank}"] = alpha / value
    notes = []
    if unread := sorted(values.config.keys() - READ - REASONS.keys()):
        notes.append(values.note(f"nothing reads {some(unread)}"))
    return AdapterConfig(
        values.file,
        ranks,
        scales,
        _release_targets(values),
        last=values.whole(values.config, "num_layers", least=-1),
        notes=tuple(notes),
    )


def _release_targets(values: ConfigValues) -> tuple[str, ...] | None:
    """Return the modules that any key names, each once; None where no key names them."""
    targets: dict[str, None] = {}
    stated = False
    for key in TARGETS:
        names = values.names(values.config, key)
        if names is not None:
            stated = True
            targets |= dict.fromkeys(names)
    return tuple(targets) if stated else None


def _peft(values: ConfigValues) -> AdapterConfig:
    config = values.config
    if config["peft_type"] != "LORA":
        values.report("W286", f"peft_type is {show(str(config['peft_type']))}; expected 'LORA'")
    for key in sorted(config.keys() - PEFT - {"ensure_weight_tying"}):
        values.refuse_effect(key, config[key])
    if config.get("layers_pattern") not in (None, [], "", "layers", ["layers"]):
        values.report(
            "W286",
            f"layers_pattern is {show(str(config['layers_pattern']))}; expected 'layers'",
        )
    ranks, scales, alphas = _peft_scales(values)
    root = values.flag("use_rslora")
    own = values.pattern("rank_pattern", int), values.pattern("alpha_pattern", int | float)
    scaling = None
    if any(own) and ranks and alphas:
        scaling = LoraScaling(ranks["r"], alphas["lora_alpha"], root, *own)
    listed = dict(config)
    notes = []
    for key in ("target_modules", "exclude_modules"):
        value = config.get(key)
        if not isinstance(value, str):
            continue
        del listed[key]
        if value != "all-linear":
            notes.append(values.note(f"{key} is the pattern {show(value)}, which is not run"))
    pattern = bool(notes)
    if not config.get("target_modules"):
        notes.append(values.note("it names no target_modules; its tensors say which they are"))
    layers = values.layers(config.get("layers_to_transform"))
    return AdapterConfig(
        values.file,
        ranks,
        scales,
        values.names(listed, "target_modules"),
        values.names(listed, "exclude_modules") or (),
        layers,
        0,
        pattern,
        scaling,
        values.flag("use_dora"),
        tuple(notes),
        values.names(config, "modules_to_save") or (),
        values.flag("ensure_weight_tying"),
        values.flag("fan_in_fan_out"),
    )

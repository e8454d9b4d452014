"""Tensor names of Qwen3-ASR checkpoints, released or in transformers' layout."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

RULES = {
    "thinker.audio_tower.": ("encoder", ""),
    "thinker.model.": ("decoder", "model."),
    "thinker.lm_head.": ("decoder", "lm_head."),
    "model.audio_tower.": ("encoder", ""),
    "model.multi_modal_projector.linear_1.": ("encoder", "proj1."),
    "model.multi_modal_projector.linear_2.": ("encoder", "proj2."),
    "model.language_model.": ("decoder", "model."),
    "lm_head.": ("decoder", "lm_head."),
}


@dataclass
class Parts:
    """A checkpoint cut in two: encoder names as released, decoder names as in mlx-lm."""

    encoder: dict[str, Tensor] = field(default_factory=dict)
    decoder: dict[str, Tensor] = field(default_factory=dict)


def split(state: Mapping[str, Tensor]) -> Parts:
    """Sort every tensor into its part; an unknown or doubled name is an error."""
    parts = Parts()
    unknown = []
    for key, tensor in state.items():
        prefix = next((prefix for prefix in RULES if key.startswith(prefix)), None)
        if prefix is None:
            unknown.append(key)
            continue
        part, new = RULES[prefix]
        target = parts.encoder if part == "encoder" else parts.decoder
        name = new + key.removeprefix(prefix)
        if name in target:
            raise ValueError(f"two tensors are {part} {name}; the second is {key}")
        target[name] = tensor
    if unknown:
        raise ValueError(f"unknown tensors: {listed(unknown)}")
    return parts


def listed(names: list[str], limit: int = 8) -> str:
    """Join names for an error text, with a count of those left off."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(sorted(names)[:limit]) + more


def match(part: str, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    """Demand exactly the wanted names."""
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    if missing or extra:
        said = [f"misses {listed(missing)}"] * bool(missing) + [f"has {listed(extra)}"] * bool(
            extra
        )
        raise ValueError(f"the {part} {' and '.join(said)}; its config says otherwise")

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
    """A checkpoint split in two: encoder names as released, decoder names as in mlx-lm."""

    encoder: dict[str, Tensor] = field(default_factory=dict)
    decoder: dict[str, Tensor] = field(default_factory=dict)


def split(state: Mapping[str, Tensor]) -> Parts:
    """Assign every tensor to its part; an unknown or duplicate name is an error."""
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
        raise ValueError(f"unknown tensors: {join_names(unknown)}")
    return parts


def join_names(names: list[str], limit: int = 8) -> str:
    """Join names for a message, with a count of the rest."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(sorted(names)[:limit]) + more


def check_names(part: str, tensors: Mapping[str, object], expected: Mapping[str, object]) -> None:
    """Raise ValueError unless the names are exactly the expected ones."""
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    if missing or extra:
        problems = []
        if missing:
            problems.append(f"is missing {join_names(missing)}")
        if extra:
            problems.append(f"has {join_names(extra)}")
        raise ValueError(f"the {part} {' and '.join(problems)}, unlike its config")

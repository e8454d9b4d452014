"""Layouts of stored tensors that mlx-lm would not turn into its own at load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from composer.core.errors import Problem

from ..checkpoints.config_keys.key_positions import Placed
from ..checkpoints.embedding_table import describe_tensor

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor


def layout_problems(
    name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], hint: str | None
) -> Iterator[Placed]:
    """Yield what mlx-lm's module `name` leaves as torch has it, and cannot load so.

    `config` is that of the text. Its lfm2-vl takes convolutions [D, K, 1] alone, its qwen3_vl_moe
    the joined projections of experts [E, D, 2 I] alone.
    """
    for path, tensor in tensors.items():
        shape = tensor.shape
        if name == "lfm2-vl" and path.endswith("conv.conv.weight"):
            turned = len(shape) == 3 and shape[2] > 1
        elif name == "qwen3_vl_moe" and path.endswith("experts.gate_up_proj"):
            turned = shape[-1:] != (2 * (config.get("moe_intermediate_size") or 0),)
        else:
            continue
        if turned:
            message = f"mlx-lm's {name} does not take {path} with these axes"
            cause = describe_tensor(tensor)
            yield ("model_type",), Problem("W255", message, causes=(cause,), hint=hint)
            return

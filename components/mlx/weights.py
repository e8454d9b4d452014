"""Load a network's weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from composer.formats.quantization import Scheme

from . import loader
from .dtypes import dtype as to_dtype

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats.safetensors import Tensor


def weights_of(
    files: Iterable[Location],
    tensors: Mapping[str, Tensor],
    dtype: str,
    torch_ordered: frozenset[str],
    schemes: Mapping[str, Scheme] | None = None,
) -> dict[str, Any]:
    """Load tensors by name, one at a time, in a dtype.

    `torch_ordered` tensors are transposed from torch's layout to MLX's; those with a scheme are
    dequantized.
    """
    import mlx.core as mx

    stored, weights = loader.read(files), {}
    for name, tensor in tensors.items():
        value = stored.pop(tensor.name)
        if scheme := (schemes or {}).get(name.removesuffix(".weight")):
            path = tensor.name.removesuffix("weight")
            scales = stored.pop(f"{path}scales")
            biases = stored.pop(f"{path}biases", None)
            value = mx.dequantize(value, scales, biases, **loader.options(scheme))
        value = value.astype(to_dtype(dtype))
        if name in torch_ordered:
            value = mx.contiguous(mx.moveaxis(value, 1, -1))
        mx.eval(value)
        weights[name] = value
    return weights

"""Load a network's weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from composer.formats.gguf import SUFFIX as GGUF

from ..checkpoints.finite import not_finite
from ..checkpoints.modules import Module
from ..checkpoints.packing import PARTS
from ..checkpoints.weights import WeightReader
from . import loader
from .dtypes import mlx_dtype as to_dtype

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats.safetensors import Tensor


def load_weights(
    files: Iterable[Location],
    tensors: Mapping[str, Tensor],
    dtype: str,
    torch_ordered: frozenset[str],
    packed: Mapping[str, Module] | None = None,
) -> dict[str, Any]:
    """Load tensors by name, one at a time, in a dtype.

    `torch_ordered` tensors are transposed from torch's layout to MLX's. Those of `packed` modules
    stay packed, or are packed before the dtype changes; scales and biases stand beside them.
    """
    import mlx.core as mx

    files = list(files)
    if any(file.inside.endswith(GGUF) for file in files):
        return _widened(tensors, dtype, torch_ordered, packed)
    stored, weights = loader.read_lazily(files), {}
    for name, tensor in tensors.items():
        value = stored.pop(tensor.name)
        _require_finite(tensor, value)
        path, _, part = name.rpartition(".")
        module = (packed or {}).get(path)
        if module and part == "weight":
            for each, array in _parts(module, value, stored):
                if mx.issubdtype(array.dtype, mx.floating):
                    _require_finite(tensor, array)
                    array = array.astype(to_dtype(dtype))
                mx.eval(array)
                weights[f"{path}.{each}"] = array
            continue
        value = value.astype(to_dtype(dtype))
        if name in torch_ordered:
            value = mx.contiguous(mx.moveaxis(value, 1, -1))
        mx.eval(value)
        weights[name] = value
    return weights


def _require_finite(tensor: Tensor, value: Any) -> None:
    """Refuse a weight that is stored with NaN or infinity; one number alone may be a bound."""
    import mlx.core as mx

    if mx.issubdtype(value.dtype, mx.floating):
        odd = mx.isnan(value) if value.size == 1 else ~mx.isfinite(value)
        if mx.any(odd).item():
            raise not_finite(tensor, tensor.dtype)


def _widened(
    tensors: Mapping[str, Tensor],
    dtype: str,
    torch_ordered: frozenset[str],
    packed: Mapping[str, Module] | None,
) -> dict[str, Any]:
    """Load tensors of a GGUF file, which MLX's own reader does not check."""
    import mlx.core as mx

    reader, weights = WeightReader(tensors, packed, torch_ordered), {}
    for name in tensors:
        weights[name] = mx.array(reader.read(name)).astype(to_dtype(dtype))
        mx.eval(weights[name])
    return weights


def _parts(module: Module, value: Any, stored: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a module is packed as: weight, scales and, if affine, biases."""
    import mlx.core as mx

    assert module.packing
    if module.packed_when_read:
        made = mx.quantize(value, **loader.quantize_arguments(module.packing))
        yield from zip(PARTS, made, strict=False)
        return
    yield PARTS[0], value
    for part in PARTS[1:]:
        if part in module.parts:
            yield part, stored.pop(module.parts[part].name)

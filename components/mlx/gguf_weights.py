"""Load weights of a GGUF file: packed where MLX multiplies such blocks, widened where not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..checkpoints.ggml_affine import affine_rows, affine_scheme
from ..checkpoints.packing import PARTS
from ..checkpoints.row_reader import RowReader
from .dtypes import mlx_dtype as to_dtype

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor


def read_weights(tensors: Mapping[str, Tensor], dtype: str) -> dict[str, Any]:
    """Return arrays by name, a packed module's in three parts; floats are of a dtype."""
    reader, kind = RowReader(), to_dtype(dtype)
    found: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if affine_scheme(tensor) is None:
            found[name] = _array(reader.whole(tensor), kind)
            continue
        path = name.removesuffix("weight")
        for part, rows in zip(PARTS, affine_rows(reader, tensor), strict=True):
            found[path + part] = _array(rows, kind)
    return found


def _array(values: Any, kind: Any) -> Any:
    import mlx.core as mx

    made = mx.array(values)
    if mx.issubdtype(made.dtype, mx.floating):
        made = made.astype(kind)
    mx.eval(made)
    return made

"""MLX's arrays for the executor; they belong to the thread that made them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import machine
from typing import Any

import numpy as np

from composer.core.placement import Placement

from .dtypes import dtype as to_dtype
from .dtypes import short
from .vocabulary import MlxNetwork

CUDA = ("mlx-cuda-13", "mlx-cuda-12", "mlx-cuda")  # the packages that bring MLX's CUDA
DEVICE = Path("/dev/nvidiactl")


class Mlx:
    """Arrays of MLX."""

    name = "mlx"
    arrays = "mlx"
    threaded = True
    dtypes = frozenset({"f32", "f16", "bf16"})
    placement_keys = frozenset({"device"})

    def compile(self, network: Any, placement: Placement) -> Callable[..., Any]:
        return MlxNetwork(network, placement)

    def suits(self) -> tuple[int, str]:
        if sys.platform == "darwin" and machine() == "arm64":
            return 3, "MLX has Metal here"
        if DEVICE.exists() and any(map(_is_installed, CUDA)):
            return 3, "MLX has CUDA here"
        return 1, "MLX has no GPU here, and nothing else runs it"

    def owns(self, value: Any) -> bool:
        core = sys.modules.get("mlx.core")
        return core is not None and isinstance(value, core.array)

    def shape(self, value: Any) -> tuple[int, ...]:
        return tuple(value.shape)

    def dtype(self, value: Any) -> str:
        return short(value.dtype)

    def to_numpy(self, value: Any) -> np.ndarray:
        """Return the same numbers; bfloat16, which NumPy lacks, as float32, which is exact."""
        if self.dtype(value) == "bf16":
            value = value.astype(to_dtype("f32"))
        return np.array(value)

    def from_numpy(self, value: np.ndarray, dtype: str) -> Any:
        import mlx.core as mx

        return mx.array(value, to_dtype(dtype))

    def cast(self, value: Any, dtype: str) -> Any:
        return value.astype(to_dtype(dtype))

    def settle(self, value: Any) -> None:
        import mlx.core as mx

        mx.eval(value)

    def concat(self, parts: Sequence[Any]) -> Any:
        import mlx.core as mx

        return mx.concatenate(list(parts))

    def scatter(self, base: Any, at: np.ndarray, values: Any) -> Any:
        """Return base [T, D] with the rows where at [T] is true replaced by values, in order."""
        import mlx.core as mx

        rows = marked(at, base.shape[0])
        if tuple(values.shape) != (rows.size, *base.shape[1:]) or values.dtype != base.dtype:
            raise ValueError(
                f"scatter into {rows.size} marked rows of {short(base.dtype)} {list(base.shape)} "
                f"needs values {[rows.size, *base.shape[1:]]} of the same dtype, not "
                f"{short(values.dtype)} {list(values.shape)}"
            )
        if not rows.size:
            return base
        out = mx.array(base)
        out[mx.array(rows)] = values
        return out

    def fill(self, ids: Any, at: np.ndarray, value: int) -> Any:
        """Return ids [T] with `value` wherever at [T] is true."""
        import mlx.core as mx

        marked(at, ids.shape[0])
        return mx.where(mx.array(at), mx.array(value, ids.dtype), ids)


def marked(at: np.ndarray, length: int) -> np.ndarray:
    """Return the positions where at [T] is true; raise ValueError unless it is bool and T long."""
    if at.dtype != np.bool_ or at.shape != (length,):
        raise ValueError(f"'at' must be bool [{length}], not {at.dtype} {list(at.shape)}")
    return np.flatnonzero(at)


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True

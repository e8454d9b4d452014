"""The MLX backend for the executor; arrays belong to the thread that created them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import machine
from typing import Any, Literal

import numpy as np

from composer.core.backend import Colours
from composer.core.placement import Placement, PlacementKey

from .dtypes import mlx_dtype as to_dtype
from .dtypes import short_name
from .network import MlxNetwork
from .operators import OPERATORS

CUDA = ("mlx-cuda-13", "mlx-cuda-12", "mlx-cuda")  # the packages with MLX's CUDA
DEVICE = Path("/dev/nvidiactl")


class MlxBackend:
    """Arrays of MLX."""

    name = "mlx"
    title = "MLX"
    packages = ("mlx", "mlx-lm")
    arrays = "mlx"
    array_type = "mlx.core.array"
    threaded = True
    dtypes = frozenset({"f32", "f16", "bf16"})
    placement = (PlacementKey("device", Literal["cpu", "gpu"], "Where MLX computes."),)
    operators: Mapping[str, Callable[..., Any]] = OPERATORS
    colours = Colours("#fff1e5", "#bc6b1e", "#33210f", "#d2863a")

    def compile(self, network: Any, placement: Placement) -> Callable[..., Any]:
        return MlxNetwork(network, placement)

    def packs(self, scheme: Any) -> bool:
        return True

    def suitability(self) -> tuple[int, str]:
        if sys.platform == "darwin" and machine() == "arm64":
            return 3, "MLX has Metal here"
        if DEVICE.exists() and any(map(_is_installed, CUDA)):
            return 3, "MLX has CUDA here"
        return 1, "MLX has no GPU here, and nothing else runs it"

    def diagnose(self) -> str:
        import mlx.core as mx

        total = float(mx.sum(mx.ones(4)))
        if total != 4.0:
            raise ArithmeticError(f"four ones sum to {total}")
        return f"computes on {mx.default_device()}"

    def shape(self, value: Any) -> tuple[int, ...]:
        return tuple(value.shape)

    def dtype(self, value: Any) -> str:
        return short_name(value.dtype)

    def to_numpy(self, value: Any) -> np.ndarray:
        """Convert to NumPy; bfloat16, which NumPy does not support, becomes float32, exactly."""
        if self.dtype(value) == "bf16":
            value = value.astype(to_dtype("f32"))
        return np.array(value)

    def from_numpy(self, value: np.ndarray, dtype: str) -> Any:
        import mlx.core as mx

        return mx.array(value, to_dtype(dtype))

    def cast(self, value: Any, dtype: str) -> Any:
        return value.astype(to_dtype(dtype))

    def wait_until_computed(self, value: Any) -> None:
        import mlx.core as mx

        mx.eval(value)

    def count_infinite(self, value: Any) -> int:
        import mlx.core as mx

        if not mx.issubdtype(value.dtype, mx.floating):
            return 0
        found: Any = mx.sum(~mx.isfinite(value)).item()
        return int(found)

    def is_all_zero(self, value: Any) -> bool:
        import mlx.core as mx

        return not mx.any(value != 0).item()

    def concat(self, parts: Sequence[Any]) -> Any:
        import mlx.core as mx

        return mx.concatenate(list(parts))


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True

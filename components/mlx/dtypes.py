"""Convert dtypes between MLX and short names."""

from __future__ import annotations

from typing import Any

from composer.core.backend import LONG, SHORT


def short_name(dtype: Any) -> str:
    """Return the short name of an mx.Dtype: bf16 of mlx.core.bfloat16."""
    return SHORT[str(dtype).removeprefix("mlx.core.")]


def mlx_dtype(name: str) -> Any:
    """Return the mx.Dtype of a short or a long name."""
    import mlx.core as mx

    long = LONG.get(name, name)
    return mx.bool_ if long == "bool" else getattr(mx, long)

"""Find the device that a placement names."""

from __future__ import annotations

from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.core.placement import Placement

from . import thread


def device_of(placement: Placement) -> Any:
    """Return the mx.Device of a placement, or MLX's default.

    MLX then runs on the calling thread.
    """
    import mlx.core as mx

    thread.register_thread()
    if placement.given.keys() & {"providers", "threads"}:
        raise ComposerError(
            Problem(
                "R518",
                "MLX has no execution providers and no thread count of its own",
                hint="place an MLX component by device: cpu or gpu",
            )
        )
    name = placement.get("device")
    if name is None:
        return mx.default_device()
    if name not in ("cpu", "gpu"):
        raise ComposerError(Problem("R518", f"MLX has no device '{name}'", hint="say cpu or gpu"))
    device = getattr(mx, name)
    if not mx.is_available(device):
        raise ComposerError(
            Problem(
                "R518",
                f"this MLX has no {name}",
                hint="on Linux a gpu needs mlx[cuda]",
            )
        )
    return mx.Device(device, 0)

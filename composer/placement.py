"""Where a bundle runs on this machine: a matter of the user, never of the manifest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """How one component is placed; None leaves the choice to its backend.

    `providers` are ONNX Runtime's execution providers in order, `threads` its intra-op threads,
    `device` is MLX's `cpu` or `gpu`.
    """

    providers: tuple[str, ...] | None = None
    threads: int | None = None
    device: str | None = None

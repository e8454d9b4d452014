"""Leave a thread as MLX wants it left."""

from __future__ import annotations

import threading


class _Leaving:
    """End MLX's own threads with the Python thread that they belong to.

    A thread that used MLX on a CPU and ended without this makes the process abort at its exit,
    more often than not, with "terminate called without an active exception" (MLX 0.32).
    """

    def __del__(self) -> None:
        import mlx.core as mx

        mx.clear_streams()


_here = threading.local()


def enter() -> None:
    """Prepare the calling thread, any but the main one, for MLX; its end is then taken care of."""
    main = threading.current_thread() is threading.main_thread()
    if not main and not hasattr(_here, "leaving"):
        _here.leaving = _Leaving()

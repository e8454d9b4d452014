"""Clean up MLX's state when a thread ends."""

from __future__ import annotations

import threading


class _Cleanup:
    """End MLX's own threads with the Python thread that they belong to.

    A thread that used MLX on a CPU and ended without this makes the process abort at its exit,
    more often than not, with "terminate called without an active exception" (MLX 0.32).
    """

    def __del__(self) -> None:
        import mlx.core as mx

        mx.clear_streams()


_local = threading.local()


def register_thread() -> None:
    """Register the calling thread, unless it is the main one, for cleanup at its end."""
    main = threading.current_thread() is threading.main_thread()
    if not main and not hasattr(_local, "cleanup"):
        _local.cleanup = _Cleanup()

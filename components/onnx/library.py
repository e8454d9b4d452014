"""The one place that imports ONNX Runtime."""

from __future__ import annotations

from functools import cache
from typing import Any

from composer.core.privacy import send_nothing


@cache
def onnxruntime() -> Any:
    """Import ONNX Runtime with its telemetry off.

    Its environment variable must be set before; the call only ends what a process that imported
    the library earlier, by itself, has begun.
    """
    send_nothing()
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime

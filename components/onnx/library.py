"""The one place that imports ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from composer.core.telemetry import disable_library_telemetry

# It is in the wheels, and sends what it is given to a server.
REMOTE = "AzureExecutionProvider"
FATAL = 4


@cache
def onnxruntime() -> Any:
    """Import ONNX Runtime with its telemetry off.

    Its environment variable must be set before; the call only ends what a process that imported
    the library earlier, by itself, has begun.
    """
    disable_library_telemetry()
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def local_providers() -> list[str]:
    """Return the execution providers that compute on this machine."""
    return [name for name in onnxruntime().get_available_providers() if name != REMOTE]


def session_options(threads: int | None) -> Any:
    """Return the options that every session is opened with."""
    library = onnxruntime()
    options = library.SessionOptions()
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = FATAL
    # An arena would keep what the longest clip needed.
    options.enable_cpu_mem_arena = False
    # A pool that waits busily for the next run takes a processor from what runs meanwhile.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def open_session(path: Path, options: Any, providers: Sequence[str], **more: Any) -> Any:
    """Return a session, or raise what the library raises: it would print that, and try again."""
    return onnxruntime().InferenceSession(
        _path_text(path), options, providers=list(providers), enable_fallback=0, **more
    )


def _path_text(path: Path) -> str:
    """Return a path as the library takes it: its bytes are UTF-8, whatever this locale is."""
    return os.fsencode(path).decode("utf-8")


def save_prepared(options: Any, path: Path) -> None:
    """Let a session write its optimized graph, and beside it its weights as its kernels want them.

    They are for this processor and this version of the library alone.
    """
    options.optimized_model_filepath = _path_text(path)
    for key, value in (
        ("optimized_model_external_initializers_file_name", f"{path.stem}.bin"),
        ("optimized_model_external_initializers_min_size_in_bytes", "1024"),
        ("save_external_prepacked_constant_initializers", "1"),
    ):
        options.add_session_config_entry(f"session.{key}", value)


def run_options() -> Any:
    """Return the options of one run."""
    options = onnxruntime().RunOptions()
    options.log_severity_level = FATAL
    return options

"""Turn off what libraries report of their users, before any of them is imported."""

import os

# ONNX Runtime's wheels for Linux and macOS report to Microsoft by default since 1.29: they leave a
# device ID and a queue of events in the user's cache, and send it. The variable was
# ORT_TELEMETRY_DISABLED in builds before its release; both end it before anything is written.
SILENT = {
    "ORT_DISABLE_TELEMETRY": "1",
    "ORT_TELEMETRY_DISABLED": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def disable_library_telemetry() -> None:
    """Set the variables that libraries read when they start, for children too, whatever they were.

    A process that has loaded ONNX Runtime before it imports `composer` has begun to report already.
    """
    os.environ.update(SILENT)

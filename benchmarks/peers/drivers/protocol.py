"""Serve requests, one line of JSON each: load once, run many times."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

# What Gemma-4 is asked of a clip, which `audio` stands for.
GEMMA4_PROMPT = "<bos><|turn>user\nWrite it down.{audio}<turn|>\n<|turn>model\n"


def serve(load: Callable[..., Callable[..., list[int]]], *packages: str) -> None:
    """Load by the first request, and run each later one.

    A response has the ids, or `error`, and the peak resident memory.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    run: Callable[..., list[int]] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any]
        try:
            if run is None:
                run = load(**request)
                answer = {"versions": {name: version(name) for name in packages}}
            else:
                answer = {"ids": [int(token) for token in run(**request)]}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps({**answer, "peak": peak()}) + "\n")
        out.flush()


def peak() -> int | None:
    """Return the peak resident memory on Linux, else None."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def until(tokens: list[int], ends: list[int]) -> list[int]:
    """Return the tokens before the first stop id."""
    stops = [at for at, token in enumerate(tokens) if token in ends]
    return tokens[: stops[0]] if stops else tokens

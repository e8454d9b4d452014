"""Load a bundle in this process, run it as often as stdin asks, and tell the seconds of each part.

Its standard input takes a pickled Case, then a line for each run; each answer is a line of JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError
from composer.runtime.opening import BundleOptions


@dataclass(frozen=True)
class Case:
    """A bundle as it is measured: how it is opened, and what each of its runs is given."""

    bundle: BundleOptions
    task: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Session:
    """A bundle that is loaded once and run many times."""

    def __init__(self, case: Case) -> None:
        began = time.perf_counter()
        self.case = case
        self.bundle = case.bundle.open()
        checked_at = time.perf_counter()
        self.bundle.load(case.task)
        self.told = {
            "check": checked_at - began,
            "load": time.perf_counter() - checked_at,
            "components": dict(self.bundle.load_seconds),
        }

    def run(self) -> dict[str, Any]:
        """Run once; return its seconds, those of its nodes, when text came, and its outputs.

        `rate` is the tokens a second from the first that has text to the last that has.
        """
        case, came = self.case, []
        began = time.perf_counter()
        stream = self.bundle.stream(task=case.task, options=case.options, **case.inputs)
        for _ in stream:
            came.append((time.perf_counter() - began, stream.tokens))
        seconds = time.perf_counter() - began
        result = stream.result
        assert result is not None
        return {
            "seconds": seconds,
            "first": came[0][0] if came else None,
            "rate": _rate(came),
            "nodes": dict(result.timings),
            "tokens": result.tokens,
            "finish": result.finish_reason,
            "outputs": {name: _sketch(value) for name, value in result.outputs.items()},
            "peak": peak(),
        }


def _rate(came: list[tuple[float, int]]) -> float | None:
    if not came:
        return None
    (first, before), (last, after) = came[0], came[-1]
    return (after - before) / (last - first) if last > first else None


def _sketch(value: Any) -> str:
    """Return a text as it is, and anything else by its digest."""
    if isinstance(value, str):
        return value
    array = getattr(value, "samples", value)
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    return f"{array.dtype} {list(array.shape)} sha256:{digest}"


def peak() -> int:
    """Return the most bytes that were resident in this process.

    Linux tells it as VmHWM, which begins at 0; ru_maxrss begins there with the peak of the parent.
    macOS has ru_maxrss alone, in bytes and of this process. What a GPU holds for itself is in
    neither.
    """
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("utf-8"))
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Answer until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends this
    asked = sys.stdin.buffer
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer

    def tell(said: Mapping[str, Any]) -> None:
        out.write(json.dumps(said) + "\n")
        out.flush()

    tell({"started": True})
    try:
        session = Session(pickle.load(asked))
        tell({**session.told, "peak": peak()})
        while asked.readline():
            tell(session.run())
    except ComposerError as error:
        tell({"problems": [problem.packed() for problem in error.problems]})


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # threads of a backend do not hold up the end

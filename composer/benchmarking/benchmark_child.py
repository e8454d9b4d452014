"""Load a bundle in this process, run it as often as stdin asks, and report each part's seconds.

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

from composer.core.child_process import children
from composer.core.errors import ComposerError
from composer.runtime.opening import BundleOptions


@dataclass(frozen=True)
class BenchmarkCase:
    """A bundle as it is measured: how it is opened, and what each of its runs is given."""

    bundle: BundleOptions
    task: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class BenchmarkSession:
    """A bundle that is loaded once and run many times."""

    def __init__(self, case: BenchmarkCase) -> None:
        began = time.perf_counter()
        self.case = case
        self.bundle = case.bundle.open()
        checked_at = time.perf_counter()
        self.bundle.load(case.task)
        self.startup = {
            "check": checked_at - began,
            "load": time.perf_counter() - checked_at,
            "components": dict(self.bundle.load_seconds),
        }

    def run(self) -> dict[str, Any]:
        """Run once; return its seconds, those of its nodes, when text arrived, and its outputs.

        `rate` is the tokens a second from the first that has text to the last that has.
        """
        case, texts = self.case, []
        began = time.perf_counter()
        stream = self.bundle.stream(task=case.task, options=case.options, **case.inputs)
        for _ in stream:
            texts.append((time.perf_counter() - began, stream.tokens))
        seconds = time.perf_counter() - began
        first = texts[0][0] if texts else None
        result = stream.result
        assert result is not None
        return {
            "seconds": seconds,
            "first": first,
            "rate": _rate(texts),
            "nodes": dict(result.timings),
            "tokens": result.tokens,
            "finish": result.finish_reason,
            "outputs": {name: _summary(value) for name, value in result.outputs.items()},
            "peak": peak_memory(),
        }


def _rate(texts: list[tuple[float, int]]) -> float | None:
    if not texts:
        return None
    (first, before), (last, after) = texts[0], texts[-1]
    if last <= first:
        return None
    return (after - before) / (last - first)


def _summary(value: Any) -> str:
    """Return a text as it is, and anything else by its digest."""
    if isinstance(value, str):
        return value
    array = getattr(value, "samples", value)
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    return f"{array.dtype} {list(array.shape)} sha256:{digest}"


def peak_memory() -> int:
    """Return the most bytes that were resident in this process and in its children.

    On Linux it is VmHWM, which begins at 0; ru_maxrss begins there with the peak of the parent.
    macOS has ru_maxrss alone, in bytes and of this process. Neither includes a GPU's own memory.
    """
    total = _resident("self")
    for each in children():
        total += _resident(str(each.process.pid))
    if total:
        return total
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _resident(pid: str) -> int:
    """Return the most bytes that were resident in a process; 0 where that is unknown."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("utf-8"))
    except OSError:
        return 0
    if not found:
        return 0
    return int(found[1]) * 1024


def main() -> None:
    """Answer until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends this
    requests = sys.stdin.buffer
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer

    def send(answer: Mapping[str, Any]) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    send({"started": True})
    try:
        session = BenchmarkSession(pickle.load(requests))
        send({**session.startup, "peak": peak_memory()})
        while requests.readline():
            send(session.run())
    except ComposerError as error:
        send({"problems": [problem.packed() for problem in error.problems]})


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # threads of a backend do not delay the end

"""Load a graph and run it, as the child process of `isolated`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from composer.core.child import limit_process
from composer.core.messages import pack, unpack

from .local import LocalGraph

FOREVER = 10.0**9  # the parent keeps the time
ANYTHING = 2**62


def main() -> None:
    """Answer questions on stdin until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print is no answer
    limit_process(int(sys.argv[1]))
    words, _ = unpack(_read, ANYTHING)
    graph = None
    try:
        graph = LocalGraph(Path(words["path"]), words["threads"], words["providers"])
        forms = {"inputs": graph.inputs, "outputs": graph.outputs, "providers": graph.providers}
        _write(out, pack(forms))
    except Exception as error:
        _write(out, pack({"error": str(error) or type(error).__name__}))
    while graph:
        _, feeds = unpack(_read, ANYTHING)
        try:
            made = pack({}, graph.run(feeds, FOREVER))
        except Exception as error:
            made = pack({"error": str(error) or type(error).__name__})
        _write(out, made)


def _read(count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        piece = os.read(0, count - len(found))
        if not piece:
            os._exit(0)  # the parent is done
        found += piece
    return bytes(found)


def _write(out: Any, pieces: list[Any]) -> None:
    for piece in pieces:
        data = memoryview(piece)
        while data:
            data = data[out.write(data) :]


if __name__ == "__main__":
    main()

"""Run one benchmark, or all quick ones."""

from __future__ import annotations

import sys
from importlib import import_module

QUICK = ("startup", "log-mel", "encode", "decode", "onnx-decode", "batch")
SLOW = (
    "corpus", "hub", "real-size", "releases", "elderwise", "speech-encoder", "gemma4",
    "gemma4-decode", "serve-load", "hostile", "peers", "packed", "packed-batch", "precision",
)  # fmt: skip
ALL = (*QUICK, *SLOW)


def main(arguments: list[str]) -> None:
    """Run the named benchmark with its arguments, or each quick one."""
    if arguments and arguments[0] not in ALL:
        raise SystemExit(f"usage: scripts/bench [{' | '.join(ALL)}] ...")
    for name in arguments[:1] or QUICK:
        if not arguments:
            print(f"-- {name}")
        import_module(f"benchmarks.{name.replace('-', '_')}").main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])

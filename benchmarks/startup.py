"""Start composer: time whole processes, in turns."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from benchmarks.timing import in_turns, table

BARE = "python -c pass"
UNCACHED = "PYTHONDONTWRITEBYTECODE"
HEAVY = (
    "huggingface_hub",
    "librosa",
    "mlx",
    "mlx_lm",
    "numpy",
    "onnxruntime",
    "pydantic",
    "rich",
    "scipy",
    "soundfile",
    "soxr",
    "tokenizers",
    "torch",
    "transformers",
    "typer",
    "yaml",
)


def commands(bundle: str) -> dict[str, list[str]]:
    """Return Python's arguments for each command."""
    start = "from composer.cli import main; main()"
    return {
        BARE: ["-c", "pass"],
        "python -c 'import composer'": ["-c", "import composer"],
        "composer --version": ["-c", start, "--version"],
        "composer --help": ["-c", start, "--help"],
        f"composer check {bundle}": ["-c", start, "check", bundle],
    }


def start(arguments: list[str]) -> None:
    """Run Python with some arguments; the first run may write bytecode."""
    cached = {name: value for name, value in os.environ.items() if name != UNCACHED}
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=cached)


def imported(arguments: list[str]) -> tuple[int, list[str]]:
    """Return how many modules a command imports beyond plain Python, and which heavy packages."""
    names = _modules(arguments) - _modules(["-c", "pass"])
    return len(names), [name for name in HEAVY if name in names]


def _modules(arguments: list[str]) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], check=True, capture_output=True, text=True
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def main(arguments: list[str]) -> None:
    """Print medians and imported modules."""
    parser = argparse.ArgumentParser(prog="scripts/bench startup", description=__doc__)
    parser.add_argument("--bundle", default="mega-asr-mini", help="the bundle that is checked")
    parser.add_argument("--turns", type=int, default=21)
    options = parser.parse_args(arguments)
    ways = commands(options.bundle)
    spent = in_turns(
        {name: lambda way=way: start(way) for name, way in ways.items()}, options.turns
    )
    print(table(spent, BARE))
    for name, way in ways.items():
        count, heavy = imported(way)
        print(f"{name}: {count} modules more; {', '.join(heavy) or 'no heavy package'}")

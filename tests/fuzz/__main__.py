"""Fuzz each reader for some minutes in a process of its own: no crash, no hang, little memory."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

from tests.fuzz.readers import READERS

MEMORY = 200_000_000
STAT = re.compile(r"stat::(\w+):\s+(\d+)")


def run(name: str, seconds: int) -> dict[str, object]:
    """Return the figures of one reader's child; `fault` is its message if it failed."""
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(seconds)]
    with tempfile.TemporaryDirectory(prefix="composer-fuzz-") as place:
        own = {**os.environ, "TMPDIR": place}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=own)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found: dict[str, object] = json.loads(lines[-1]) if lines else {}
    stats = {key: int(messages) for key, messages in STAT.findall(done.stderr)}
    if stats:
        found |= {
            "inputs": stats["number_of_executed_units"],
            "slowest": stats["slowest_unit_time_sec"],
            "peak": stats["peak_rss_mb"] * 2**20,
        }
    grown = int(str(found.get("peak", 0))) - int(str(found.get("baseline", 0)))
    fault = done.stderr[-3000:] if done.returncode else ""
    if grown > MEMORY:
        fault += f"\nit took {grown / 1e6:.0f} MB"
    return {**found, "grown": grown, "fault": fault}


def main() -> int:
    """Print a line for each reader."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("minutes", type=float, help="for each reader")
    parser.add_argument("reader", nargs="*", choices=[[], *READERS], help="default: all")
    arguments = parser.parse_args()
    failed = False
    for name in arguments.reader or READERS:
        found = run(name, round(arguments.minutes * 60))
        print(
            f"{name:12} {found.get('by', '?'):10} {found.get('inputs', 0):>9} inputs, slowest "
            f"{found.get('slowest', 0):.2f} s, {found['grown'] / 1e6:.0f} MB more",
            flush=True,
        )
        if found["fault"]:
            print(found["fault"])
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

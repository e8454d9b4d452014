"""Meet every hostile case of the tests by the installed command, and measure all its processes."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.costly.case import TIME_LIMIT, Case
from tests.hostile.costly.kinds import KINDS

PAGE = Path(__file__).parents[1] / "docs" / "security.md"
BEGIN, END = "<!-- hostile: scripts/bench hostile --write -->", "<!-- hostile ends -->"
COMMAND = Path(sys.executable).with_name("composer")
CODES = (0, 2, 3, 5)
MEMORY = 6e9  # bytes of the tree: a child's 4 GB, and this process with the libraries
SECONDS = 60.0 + TIME_LIMIT + 30.0  # to load, to run, and to start on a busy machine
PAUSE = 0.01
WORST = 5  # cases of a kind that the page names


@dataclass(frozen=True)
class Measured:
    """What one case took: bytes of all its processes at once, seconds, and how it ended."""

    name: str
    memory: int
    seconds: float
    code: int
    fault: str = ""

    def __str__(self) -> str:
        figures = f"exit code {self.code}, {amount(self.memory)}, {self.seconds:.1f} s"
        return f"{self.name}: {figures}" + (f", OUT OF BOUNDS: {self.fault}" if self.fault else "")


def measure(name: str, case: Case) -> Measured:
    """Write a case into an empty folder and run its command there, ended after twice its time."""
    with tempfile.TemporaryDirectory(prefix="composer-hostile-") as place:
        folder = Path(place) / "case"
        folder.mkdir()
        command = [*map(str, case(folder))]
        if command[0] != sys.executable:
            command.insert(0, str(COMMAND))
        output = Path(place) / "output"
        with output.open("wb") as file:
            began = time.monotonic()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
            peak = 0
            while process.poll() is None and time.monotonic() - began < 2 * SECONDS:
                peak = max(peak, resident(process.pid))
                time.sleep(PAUSE)
            seconds = time.monotonic() - began
        left = session(process.pid)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        found = Measured(name, peak, seconds, code)
        return Measured(name, peak, seconds, code, fault(found, left, output.read_text("utf-8")))


def fault(found: Measured, left: list[int], output: str) -> str:
    """Return what is out of bounds."""
    faults = []
    if found.code not in CODES:
        faults.append(f"exit code {found.code}")
    if "Traceback" in output:
        faults.append("a traceback")
    if found.memory > MEMORY:
        faults.append(f"{found.memory / 1e9:.1f} GB")
    if found.seconds > SECONDS:
        faults.append(f"{found.seconds:.0f} s")
    if left:
        faults.append("processes that stay")
    return ", ".join(faults)


def session(leader: int) -> list[int]:
    """Return the processes of a session that run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, owner = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(owner) == leader and state != "Z":
                found.append(int(entry.name))
    return found


def resident(leader: int) -> int:
    """Return the bytes of a session's processes; what they share counts for each."""
    pages = 0
    for pid in session(leader):
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")


def amount(memory: int) -> str:
    """Return bytes in words."""
    return f"{memory / 1e9:.1f} GB" if memory >= 1e9 else f"{memory / 1e6:.0f} MB"


def table(found: dict[str, list[Measured]]) -> str:
    """Return the costliest cases of each kind, by memory and by time."""
    lines = ["| kind | cases | case | memory | time | exit code |", "|---|---|---|---|---|---|"]
    for kind, cases in found.items():
        by_memory = sorted(cases, key=lambda each: -each.memory)[:WORST]
        by_time = sorted(cases, key=lambda each: -each.seconds)[:WORST]
        worst = dict.fromkeys([*by_memory, *by_time])
        for number, each in enumerate(sorted(worst, key=lambda each: -each.seconds)):
            lead = f"{kind} | {len(cases)}" if number == 0 else " |"
            figures = f"{amount(each.memory)} | {each.seconds:.1f} s | {each.code}"
            lines.append(f"| {lead} | {each.name} | {figures} |")
    return "\n".join(lines)


def write(text: str) -> None:
    """Replace the table on the page; kinds that were not measured keep their rows."""
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    old, _, after = rest.partition(END)
    new = by_kind(text)
    text = "\n".join(line for lines in {**by_kind(old), **new}.values() for line in lines)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")


def by_kind(table: str) -> dict[str, list[str]]:
    """Return the lines of a table by kind; its two first lines are of the kind `kind`."""
    found: dict[str, list[str]] = {}
    kind = ""
    for line in filter(None, table.splitlines()):
        kind = line.split("|")[1].strip("- ") or kind
        found.setdefault(kind, []).append(line)
    return found


def chosen(words: Iterable[str]) -> dict[str, dict[str, Case]]:
    """Return the cases whose kind or name has one of the words; all without words."""
    found: dict[str, dict[str, Case]] = {}
    for kind, cases in KINDS.items():
        for name, case in cases.items():
            if not words or any(word in f"{kind}: {name}" for word in words):
                found.setdefault(kind, {})[name] = case
    return found


def main(arguments: list[str]) -> None:
    """Print each case, and the table; exit with 1 if one is out of bounds."""
    parser = argparse.ArgumentParser(prog="scripts/bench hostile", description=__doc__)
    parser.add_argument("words", nargs="*", help="parts of names of cases; default: all")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name}")
    given = parser.parse_args(arguments)
    found: dict[str, list[Measured]] = {}
    for kind, cases in chosen(given.words).items():
        for name, case in cases.items():
            measured = measure(name, case)
            found.setdefault(kind, []).append(measured)
            print(measured, flush=True)
    print(table(found))
    if given.write:
        write(table(found))
    if any(each.fault for cases in found.values() for each in cases):
        raise SystemExit(1)

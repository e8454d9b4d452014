"""The table of hostile cases: the page lists those of the script; no figure is asserted."""

import sys

import pytest

from benchmarks import hostile
from tests.hostile.costly.kinds import KINDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are read from /proc")


def rows():
    page = hostile.PAGE.read_text("utf-8")
    lines = page.partition(hostile.BEGIN)[2].partition(hostile.END)[0].split("\n")
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line][2:]


def test_the_page_and_the_script_list_the_same_cases():
    counts = {kind: int(count) for kind, count, *_ in rows() if kind}
    assert counts == {kind: len(cases) for kind, cases in KINDS.items()}
    listed, kind = {}, ""
    for row in rows():
        kind = row[0] or kind
        listed.setdefault(kind, set()).add(row[2])
    for kind, names in listed.items():
        assert names <= set(KINDS[kind])
        assert len(names) >= min(hostile.WORST, len(KINDS[kind]))


def test_every_case_on_the_page_ended_by_itself():
    assert {int(row[5]) for row in rows()} <= set(hostile.CODES)


def test_a_case_is_measured_with_its_children(tmp_path, monkeypatch):
    program = (
        "import subprocess, sys\n"
        "keep = 'kept = bytearray(60_000_000); import time; time.sleep(1)'\n"
        "subprocess.run([sys.executable, '-c', keep])\n"
        "print('Traceback'); sys.exit(1)\n"
    )
    monkeypatch.setattr(hostile, "COMMAND", sys.executable)
    found = hostile.measure("a case", lambda folder: ["-c", program])
    assert found.memory > 60_000_000
    assert found.seconds > 1
    assert found.fault == "exit code 1, a traceback"
    assert str(found).endswith("OUT OF BOUNDS: exit code 1, a traceback")


def test_what_stays_is_reported(monkeypatch):
    program = "import subprocess; subprocess.Popen(['sleep', '3'])"
    monkeypatch.setattr(hostile, "COMMAND", sys.executable)
    assert hostile.measure("a case", lambda folder: ["-c", program]).fault == "processes that stay"


def test_the_table_names_the_costliest():
    few = [hostile.Measured(f"c{n}", n * 10**9, 9.0 - n, 3) for n in range(9)]
    table = hostile.table({"graphs": few}).splitlines()
    assert table[2] == "| graphs | 9 | c0 | 0 MB | 9.0 s | 3 |"
    assert table[-1] == "|  | | c8 | 8.0 GB | 1.0 s | 3 |"
    assert len(table) == 2 + 9

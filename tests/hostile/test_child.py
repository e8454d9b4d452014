"""The child process that parses what nobody has checked."""

import os
import subprocess
import sys
import time
from pathlib import Path


def test_a_child_does_not_outlive_its_parent(tmp_path):
    """Killed itself, the parent cannot end what its child computes."""
    code = (
        "import os, time; from composer.core.child_process import Child;"
        "child = Child('composer.generation.tokenizer_child', 4 * 10**9);"
        "print(child.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True)
    with parent:
        pid = int(parent.stdout.readline())
        # What it waits for stays open: only the end of its parent is left to tell.
        write_end = os.open(f"/proc/{pid}/fd/0", os.O_WRONLY)
        time.sleep(3)
        parent.kill()
    until = time.monotonic() + 8
    while os.path.exists(f"/proc/{pid}/cmdline") and time.monotonic() < until:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.2)
    assert time.monotonic() < until
    os.close(write_end)

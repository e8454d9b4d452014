"""A command that is interrupted or terminated says so by its code, and by nothing else."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, weakref
from importlib.abc import MetaPathFinder

class Thing: pass

def send(*_): os.kill(os.getpid(), signal.{signal})

class Sender(MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "composer.cli.{module}":
            {how}

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
sys.meta_path.insert(0, Sender())
sys.argv[1:] = ["check", "mega-asr-mini"]
from composer.cli import main
sys.exit(main())
"""
SWALLOWED = "thing = Thing(); kept = weakref.ref(thing, send); del thing"


@pytest.mark.parametrize(
    ("signal", "module", "how", "code"),
    [
        pytest.param("SIGINT", "app", "send()", 130, id="while it is imported"),
        pytest.param("SIGINT", "commands.check", "send()", 130, id="while a verb is"),
        pytest.param("SIGINT", "commands.check", SWALLOWED, 130, id="in a callback"),
        pytest.param("SIGTERM", "commands.check", "send()", 143, id="terminated"),
        pytest.param("SIGTERM", "commands.check", SWALLOWED, 143, id="terminated in a callback"),
        pytest.param("SIGHUP", "commands.check", "send()", 129, id="its terminal closed"),
    ],
)
def test_an_end_shows_in_its_code_alone(signal, module, how, code):
    program = PROGRAM.format(signal=signal, module=module, how=how)
    if signal == "SIGHUP":  # which these tests ignore where they run behind nohup
        program = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n{program}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr, done.stdout) == (code, "", "")


def test_what_is_ignored_stays_so():
    """As `nohup` has it for SIGHUP."""
    program = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + PROGRAM.format(
        signal="SIGHUP", module="commands.check", how="send()"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, check=False)
    assert done.returncode == 0

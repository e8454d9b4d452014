"""A command that is interrupted or terminated says so by its code, and by nothing else."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from composer.sources.shipped import shipped_folder

MINI = shipped_folder("bundles") / "mega-asr-mini"
CLIP = next((MINI / "clips").glob("*.flac"))
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
    ("end", "module", "how", "code"),
    [
        pytest.param("SIGINT", "app", "send()", 130, id="while it is imported"),
        pytest.param("SIGINT", "commands.check", "send()", 130, id="while a verb is"),
        pytest.param("SIGINT", "commands.check", SWALLOWED, 130, id="in a callback"),
        pytest.param("SIGTERM", "commands.check", "send()", 143, id="terminated"),
        pytest.param("SIGTERM", "commands.check", SWALLOWED, 143, id="terminated in a callback"),
        pytest.param("SIGHUP", "commands.check", "send()", 129, id="its terminal closed"),
    ],
)
def test_an_end_shows_in_its_code_alone(end, module, how, code):
    program = PROGRAM.format(signal=end, module=module, how=how)
    if end == "SIGHUP":  # which these tests ignore where they run behind nohup
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


WITHIN = """
import importlib, os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
module, _, path = {place!r}.partition(":")
*owners, name = path.split(".")

def interrupted(*_, **__):
    os.kill(os.getpid(), signal.{signal})
    time.sleep(100)

thing = importlib.import_module(module)
for each in owners:
    thing = getattr(thing, each)
assert hasattr(thing, name)
setattr(thing, name, interrupted)
sys.argv[1:] = {arguments!r}
from composer.cli import main
sys.exit(main())
"""
RUNNING = "composer.runtime.run:GraphRun._take_given"
QUICK = (("quantize", "SIGINT"), ("lock", "SIGTERM"))
COMMANDS = {
    "lock": ("composer.core.safe_write:_move", ["lock", "OWN"], []),
    "quantize": (
        "composer.core.new_folder:_move",
        ["quantize", "OWN", "-o", "new", "--precision", "encoder=int8"],
        [],
    ),
    "align": (RUNNING, ["align", "aligner-mini", "CLIP", "one"], []),
    "plan": (RUNNING, ["plan", "OWN", "CLIP", "--budget", "1MB", "--svg", "a.svg"], []),
    "diff": (RUNNING, ["diff", "OWN", "OWN", "CLIP", "--junit", "a.xml"], []),
    "tap": (RUNNING, ["tap", "OWN", "CLIP", "-o", "a.safetensors"], []),
    "transcribe": (RUNNING, ["transcribe", "OWN", "CLIP", "-o", "a"], ["a"]),
    "eval": (
        "composer.core.journal:Journal.add",
        ["eval", "OWN", "data.jsonl", "-o", "a"],
        ["a", "a/results.jsonl"],
    ),
    "batch": (
        "composer.corpus.shards:Shards.add",
        ["batch", "OWN", "data.jsonl", "-o", "a", "--workers", "2"],
        ["a", "a/run.json"],
    ),
    "serve": ("composer.runtime.loading:load_components", ["serve", "OWN", "--port", "0"], []),
    "show": ("composer.core.safe_write:_move", ["show", "OWN", "-f", "svg", "-o", "a.svg"], []),
    "new": ("composer.core.safe_write:_move", ["new", "a"], []),
}
ENDS = [
    pytest.param(name, end, marks=[] if (name, end) in QUICK else pytest.mark.slow)
    for name in COMMANDS
    for end in ("SIGINT", "SIGTERM")
]


@pytest.mark.parametrize(("name", "end"), ENDS)
def test_a_command_that_is_ended_in_its_midst_leaves_no_half(tmp_path, name, end):
    """No file in part, no temporary one, and no process; what a resumed run reads may stay."""
    own, temporary = tmp_path / "own", tmp_path / "temporary"
    shutil.copytree(MINI, own, ignore=shutil.ignore_patterns("clips"))
    temporary.mkdir()
    (tmp_path / "data.jsonl").write_text(json.dumps({"audio": str(CLIP), "text": "one"}) + "\n")
    before = files(tmp_path)
    place, arguments, kept = COMMANDS[name]
    words = [each.replace("OWN", str(own)).replace("CLIP", str(CLIP)) for each in arguments]
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHIN.format(place=place, signal=end, arguments=words)],
        env={**os.environ, "TMPDIR": str(temporary), "HF_HOME": str(tmp_path / "hf")},
        cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    code = 128 + getattr(signal, end)
    assert (done.returncode, done.stderr) == (code, "")
    assert sorted(files(tmp_path) - before) == kept


def files(folder):
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return {name for name in found if name.partition("/")[0] != "hf"}

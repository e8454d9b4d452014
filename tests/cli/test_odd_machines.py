"""Machines that lack something: each command gives a right result or one error, no traceback."""

import json
import os
import resource
import shutil
import subprocess
import sys
from functools import partial

import pytest

from composer.sources.shipped import shipped_folder

MINI = shipped_folder("bundles") / "mega-asr-mini"
CLIP = next((MINI / "clips").glob("*.flac"))
COMPOSER = [sys.executable, "-P", "-m", "composer"]
CODES = (0, 1, 2, 3, 4, 5)
# A folder that nobody can write, root neither.
BOUND = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits are set as Linux has them")

COMMANDS = {
    "help": ["--help"],
    "check": ["check", "OWN"],
    "plan": ["plan", "OWN"],
    "show": ["show", "OWN"],
    "run": ["run", "OWN", "-i", f"audio={CLIP}"],
    "transcribe": ["transcribe", "OWN", CLIP, "-o", "OUT/t"],
    "eval": ["eval", "OWN", "DATA", "-o", "OUT/e"],
    "tap": ["tap", "OWN", "-i", f"audio={CLIP}", "-o", "OUT/dump.safetensors"],
    "lock": ["lock", "OWN", "-o", "OUT/bundle.lock"],
    "licences": ["licences", "OWN"],
    "quantize": ["quantize", "OWN", "-o", "OUT/q", "--precision", "encoder=int8"],
    "new": ["new", "OUT/new"],
    "list": ["list"],
    "doctor": ["doctor"],
    "explain": ["explain", "M100"],
    "schema": ["schema"],
    "cache": ["cache"],
}
NOTE = "left out: the variant mlx\n"  # of quantize
QUICK = ("transcribe",)  # in the default run; the others are slow
EACH = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow, id=name)
    for name in COMMANDS
]


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Call a command on a bundle of one's own; return exit code, stdout and stderr."""
    own, out = tmp_path / "own", tmp_path / "out"
    shutil.copytree(MINI, own, ignore=shutil.ignore_patterns("clips"))
    out.mkdir()
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"audio": str(CLIP), "text": "one"}) + "\n")
    places = {"OWN": own, "OUT": out, "DATA": data}
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def placed(word):
        for name, path in places.items():
            word = str(word).replace(name, str(path))
        return word

    def run(name, before=(), limits=None, **environment):
        words = [*map(str, before), *COMPOSER, *map(placed, COMMANDS[name])]
        done = subprocess.run(
            words, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path,
            preexec_fn=limits and partial(limit, limits),
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in CODES, done.stderr
        return done.returncode, done.stdout, done.stderr.replace(NOTE, "")

    run.folder = tmp_path
    return run


def limit(limits):
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, name), (most, most))


@pytest.mark.parametrize("name", EACH)
def test_warnings_that_are_errors_change_nothing(call, name):
    code, _, err = call(name, PYTHONWARNINGS="error")
    assert (code, err) == (0, "")


@pytest.fixture
def read_only(tmp_path):
    """Return the words that run a command where a folder can only be read."""

    def words(folder):
        folder.mkdir(exist_ok=True)
        return ["unshare", "-m", "sh", "-c", BOUND, folder]

    tried = [*words(tmp_path / "tried"), "true"]
    if not shutil.which("unshare") or subprocess.run(tried, capture_output=True).returncode:
        pytest.skip("this system lets nobody mount")
    return words


@pytest.mark.parametrize("name", EACH)
def test_a_bundle_that_can_only_be_read(call, read_only, name):
    code, _, err = call(name, read_only(call.folder / "own"))
    assert (code, err) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_home_that_can_only_be_read(call, read_only, name):
    """No cache, no notes: what they spare is done again."""
    (call.folder / "home" / "hf").mkdir(parents=True)
    home = call.folder / "home"
    code, _, err = call(name, read_only(home), HOME=str(home), HF_HOME=str(home / "hf"))
    assert (code, err) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_outputs_where_nothing_can_be_written(call, read_only, name):
    code, _, err = call(name, read_only(call.folder / "out"))
    if not any("OUT" in str(word) for word in COMMANDS[name]):
        assert (code, err) == (0, "")
        return
    assert code == 5
    assert "R507 cannot write: Read-only file system" in err
    assert len(err.splitlines()) == 1
    assert list((call.folder / "out").iterdir()) == []


@pytest.mark.parametrize("nbytes", [150_000_000, 400_000_000])
@pytest.mark.parametrize("name", EACH)
def test_little_address_space(call, name, nbytes):
    """Native libraries end the process where they get no memory: it is known before they do."""
    code, _, err = call(name, limits={"RLIMIT_AS": nbytes})
    if code:
        granted = f"R589 the system grants {nbytes / 1e9:.2g} GB of address space, and "
        assert code == 5
        assert err.startswith(granted)
        assert err.endswith(" GB are needed\n    hint: raise the limit: ulimit -v unlimited\n")
    else:
        assert err == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_few_open_files(call, name):
    code, _, err = call(name, limits={"RLIMIT_NOFILE": 12})
    assert (code, err) == (0, "") or "Too many open files" in err


COMMANDS |= {"batch": ["batch", "OWN", "DATA", "-o", "OUT/b", "--workers", "2"]}
OTHER_USER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
              "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "most"),
    [
        pytest.param(name, most, marks=[] if (name, most) == ("run", 2) else pytest.mark.slow)
        for name in ("run", "transcribe", "eval", "quantize", "batch")
        for most in (1, 2, 3, 5, 8)
    ],
)
def test_few_processes_and_threads(call, name, most):
    """No hang, no end by a signal, and nothing but the error is printed."""
    if not shutil.which("setpriv") or os.geteuid():
        pytest.skip("root has no such limit, and only root may be somebody else")
    (call.folder / "home").mkdir()
    for path in (call.folder, *call.folder.rglob("*")):
        path.chmod(0o777)
    code, out, err = call(name, OTHER_USER, {"RLIMIT_NPROC": most})
    if code:
        assert (code, "EP Error" in out) == (5, False)
        assert any(each in err for each in ("R589 the system refused", "R53", "R50"))
        assert len(err.splitlines()) < 5


@pytest.mark.parametrize("verb", ["check", "explain", "eval"])
def test_an_argument_that_is_no_text(verb, tmp_path):
    words = [*COMPOSER, verb, b"\xff\xfe", *[b"\xfd"] * (verb == "eval")]
    done = subprocess.run(words, capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode in (2, 3, 5)
    assert b"Traceback" not in done.stderr
    assert b"\\udcff" in done.stderr

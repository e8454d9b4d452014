"""Nothing that runs on speech reports to anybody: no file beside what was asked for, no way out."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from composer.cli.verbs import verb_names
from scripts.imports import imported, modules

ROOT = Path(__file__).parent.parent
CLIP = sorted((ROOT / "bundles" / "mega-asr-mini" / "clips").glob("*.flac"))[0]
OURS = "cache/huggingface/assets/composer/"  # where hashes of files are remembered
OPENED = re.compile(r"\b(?:socket|socketpair)\((\w+)")
FILE = re.compile(r'\bopen(?:at)?\((?:\w+, )?"(/[^"]+)".*\) = \d')
PYTHON = {sys.prefix, sys.base_prefix, *map(os.path.realpath, (sys.prefix, sys.base_prefix))}
LIBRARIES = {each for each in sys.path if each.endswith(("site-packages", "dist-packages"))}
SYSTEM = "/usr /lib /lib64 /opt /sys /proc /dev/null /dev/urandom /dev/shm".split()
SETTINGS = (
    "/etc/ld.so.cache /etc/localtime /etc/os-release /etc/locale.alias /etc/mime.types".split()
)
ELSEWHERE = (*map(str, sorted(PYTHON | LIBRARIES)), *SYSTEM, *SETTINGS, str(ROOT))
COMMANDS = {
    "check": ["check", "mega-asr-mini"],
    "plan": ["plan", "mega-asr-mini"],
    "show": ["show", "mega-asr-mini"],
    "run": ["run", "mega-asr-mini", "-i", "audio=CLIP"],
    "transcribe": ["transcribe", "mega-asr-mini", "CLIP"],
    "batch": ["batch", "mega-asr-mini", "CLIP", "-o", "NEW"],
    "align": ["align", "aligner-mini", "CLIP", "four seven two"],
    "chat": ["chat", "elderwise-mini"],
    "pull": ["pull", "mega-asr-mini"],
    "cache": ["cache"],
    "lock": ["lock", "OWN"],
    "verify": ["verify", "OWN"],
    "licences": ["licences", "mega-asr-mini"],
    "publish": ["publish", "OWN", "me/mine", "--card"],
    "tap": ["tap", "mega-asr-mini", "-i", "audio=CLIP", "-o", "OUT.safetensors"],
    "diff": ["diff", "mega-asr-mini", "mega-asr-mini", "-i", "audio=CLIP"],
    "eval": ["eval", "mega-asr-mini", "DATA"],
    "bench": ["bench", "mega-asr-mini", "--runs", "1", "--starts", "1", "--warmup", "0"],
    "list": ["list"],
    "use": ["use"],
    "new": ["new", "NEW"],
    "explain": ["explain", "R500"],
    "schema": ["schema"],
    "quantize": ["quantize", "elderwise-mini", "-o", "NEW", "--precision", "decoder=mixed-8-4"],
    "doctor": ["doctor"],
}


@pytest.fixture
def watched(tmp_path):
    """Run composer under strace, with an empty home and no sign of a test; return what it did."""

    def call(arguments, program=("-m", "composer"), **more):
        home, trace = tmp_path / "home", tmp_path / "trace"
        home.mkdir(exist_ok=True)
        temporary = tmp_path / "temporary"
        temporary.mkdir(exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "TMPDIR": str(temporary),
            "LANG": "C.UTF-8",
            **more,
        }
        calls = "trace=socket,socketpair,connect,sendto,open,openat"
        watch = ["strace", "-f", "-qq", "-s", "4096", "-o", trace, "-e", calls]
        done = subprocess.run(
            [*watch, sys.executable, "-P", *program, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
        )
        opened = {
            path for path in FILE.findall(trace.read_text()) if not path.startswith(str(tmp_path))
        }
        assert [*temporary.iterdir()] == []
        assert sorted(path for path in opened if not path.startswith(ELSEWHERE)) == []
        left = sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file())
        left = [path for path in left if not path.startswith(OURS)]
        return done, set(OPENED.findall(trace.read_text())), left

    return call


@pytest.fixture
def named(tmp_path):
    """Return what stands for each word of a command: files that are there, and new ones."""
    own, data = tmp_path / "own", tmp_path / "data.jsonl"
    shutil.copytree(ROOT / "bundles" / "mega-asr-mini", own)
    (own / "bundle.lock").unlink(missing_ok=True)
    data.write_text(json.dumps({"audio_filepath": str(CLIP), "text": "one"}) + "\n")
    return {
        "CLIP": str(CLIP),
        "OUT": str(tmp_path / "out"),
        "OWN": str(own),
        "DATA": str(data),
        "NEW": str(tmp_path / "new"),
    }


def test_every_verb_is_watched():
    assert {*COMMANDS, "serve"} == {*verb_names()}  # it listens


OFTEN = ("check", "run", "transcribe", "chat", "pull")  # the others take as long, in the slow tests
WATCHED = [pytest.param(name, marks=[] if name in OFTEN else pytest.mark.slow) for name in COMMANDS]


@pytest.mark.parametrize("name", WATCHED)
def test_a_command_opens_no_socket_and_leaves_nothing(name, watched, named):
    arguments = [
        re.sub("CLIP|OUT|OWN|DATA|NEW", lambda found: named[found[0]], each)
        for each in COMMANDS[name]
    ]
    if name == "verify":
        watched(["lock", named["OWN"]])
    done, families, left = watched(arguments)
    assert done.returncode == 0, done.stderr
    assert families <= {"AF_UNIX"}
    assert left == []


def test_a_variable_that_asks_for_reports_is_overruled(watched):
    variables = {"ORT_DISABLE_TELEMETRY": "0", "ORT_TELEMETRY_DISABLED": ""}
    done, families, left = watched(["transcribe", "mega-asr-mini", str(CLIP)], **variables)
    assert done.returncode == 0, done.stderr
    assert families <= {"AF_UNIX"}
    assert left == []


def test_a_component_that_loads_onnx_runtime_itself_is_silent_too(watched):
    code = "import composer, onnxruntime; onnxruntime.SessionOptions()"
    graph = ROOT / "bundles" / "mega-asr-mini" / "onnx" / "audio_encoder_fp32.onnx"
    code = f"{code}; onnxruntime.InferenceSession({str(graph)!r})"
    done, families, left = watched([], ("-c", code))
    assert done.returncode == 0, done.stderr
    assert (families, left) == (set(), [])


def test_one_module_imports_onnx_runtime():
    users = [
        name
        for name, path in modules().items()
        if name.startswith("composer.")
        and any(each.split(".")[0] == "onnxruntime" for each in imported(path))
    ]
    assert users == ["composer.components.onnx.library"]

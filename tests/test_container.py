"""The steps of the Dockerfile, as far as they can be taken without Docker."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import openai
import pytest

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
CLIP = ROOT / "bundles" / "mega-asr-mini" / "clips" / "digits-01.flac"
NOBODY = 65534
pytestmark = pytest.mark.slow


def words(instruction):
    """Return the words of an instruction in JSON, the last of its name."""
    *_, found = re.findall(rf"^{instruction} (\[.*\])$", DOCKERFILE, re.M)
    return json.loads(found)


def done(*command, **kwargs):
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, **kwargs)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def place():
    """Make a folder that every user may read."""
    place = Path(tempfile.mkdtemp(prefix="composer-container-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def interpreter():
    """Return a Python of this version that a user without rights may run."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can start a process of another user")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (
        os.path.realpath(sys.executable),
        f"/usr/bin/{version}",
        f"/usr/local/bin/{version}",
    ):
        try:
            if subprocess.run([path, "-c", ""], user=NOBODY, group=NOBODY).returncode == 0:
                return path
        except OSError:
            continue
    pytest.skip(f"no {version} that every user may run")


@pytest.fixture(scope="module")
def program(place, interpreter):
    """Install the wheel that is built of what the image is given; return its Python."""
    source = place / "src"
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line.startswith("!"):
            continue
        path = ROOT / line[1:]
        target = source / line[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, target)
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", str(place / "wheels"))
    done(sys.executable, *build, cwd=source)
    (wheel,) = (place / "wheels").glob("*.whl")
    done(interpreter, "-m", "venv", "--without-pip", str(place / "venv"))
    (site,) = (place / "venv").glob("lib/*/site-packages")
    # Into a folder: pip would take what is installed here away from the environment of the tests.
    options = ("--no-deps", "--no-index", "--target", str(site))
    done(sys.executable, "-m", "pip", "install", "-q", *options, str(wheel))
    # What it depends on is that of the tests; a bare path brings no editable install along.
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for line in Path(sysconfig.get_path("purelib")).glob("*main.pth"):
        (site / line.name).write_text(line.read_text())
    return place / "venv" / "bin" / "python"


def test_it_serves_as_a_user_without_rights(program, place):
    home = place / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    command = words("ENTRYPOINT") + words("CMD")
    assert command[0] == "composer"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HF_HOME": str(home / "models"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        [program, "-m", *command, "--port", "0"],
        cwd=home,
        env=environment,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("serving mega-asr-mini at http://0.0.0.0:"), process.stderr.read()
        url = line.split()[-1].replace("0.0.0.0", "127.0.0.1")
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(rf"^Uid:\s+{NOBODY}\s", status, re.M)
        with openai.OpenAI(base_url=f"{url}/v1", api_key="x") as client:
            made = client.audio.transcriptions.create(model="mega-asr-mini", file=CLIP)
        assert made.text == "nine one eight one one eight three"
        check = words("HEALTHCHECK .*CMD")
        done(sys.executable, *(each.replace("http://127.0.0.1:8000", url) for each in check[1:]))
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20)[1] == ""
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_the_user_has_no_rights_and_the_port_is_that_of_the_server():
    assert re.search(r"^USER composer$", DOCKERFILE, re.M)
    assert DOCKERFILE.index("USER composer") < DOCKERFILE.index("ENTRYPOINT")
    assert re.search(r"^EXPOSE 8000$", DOCKERFILE, re.M)
    assert "[serve]" in DOCKERFILE

"""Build the wheel, install it in an environment of its own, and run from there."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("composer", "components", "bundles", "schemas", "docs")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


def done(*command, **kwargs):
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, **kwargs)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    tree = tmp_path_factory.mktemp("tree")
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / folder, tree / folder, ignore=ignored)
    for file in FILES:
        shutil.copy(ROOT / file, tree)
    out = tmp_path_factory.mktemp("dist")
    done(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), cwd=tree)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Install the wheel alone; what it depends on is taken from the environment of the tests."""
    home = tmp_path_factory.mktemp("venv")
    done(sys.executable, "-m", "venv", str(home))
    mine = home / "bin" / "python"
    done(str(mine), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    # A bare path brings no path files along, so not this checkout's editable install either.
    where = done(str(mine), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    site = Path(where.strip())
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return mine


def composer(python, *arguments, cwd):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_"))}
    environment["HF_HUB_OFFLINE"] = "1"
    return done(str(python), "-m", "composer", *arguments, cwd=cwd, env=environment)


def test_the_wheel_holds_everything_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for expected in (
        "composer/py.typed",
        "composer/components/audio/mel_filters.safetensors",
        "composer/schemas/bundle-1.schema.json",
        "composer/pages/W209.md",
        "composer/bundles/mega-asr.yaml",
        "composer/bundles/mega-asr-mini/bundle.yaml",
        "composer/bundles/mega-asr-mini/onnx/audio_encoder_fp32.onnx",
    ):
        assert expected in names
    installed = {"composer": "composer", "components": "composer/components"}
    for folder, at in installed.items():
        for module in (ROOT / folder).rglob("*.py"):
            assert f"{at}/{module.relative_to(ROOT / folder)}" in names
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"composer", next(top for top in tops if top.endswith(".dist-info"))}
    assert not [name for name in names if "__pycache__" in name]


def test_it_runs_from_the_wheel(python, tmp_path):
    where = done(str(python), "-c", "import composer; print(composer.__file__)", cwd=tmp_path)
    assert str(python.parent.parent) in where
    assert composer(python, "check", "mega-asr-mini", cwd=tmp_path).startswith("mega-asr-mini: ok")
    assert "W209" in composer(python, "explain", "W209", cwd=tmp_path)
    clips = ROOT / "bundles" / "mega-asr-mini" / "clips"
    clip = sorted(clips.glob("*.flac"))[0]
    assert composer(python, "transcribe", "mega-asr-mini", str(clip), cwd=tmp_path).strip()
    assert composer(python, "new", "mine", "--like", "mega-asr-mini", cwd=tmp_path)
    assert composer(python, "check", "mine", cwd=tmp_path).startswith("mine: ok")

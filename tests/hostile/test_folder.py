"""A folder that a stranger sent: no module of it is imported, no link of it is followed."""

import subprocess
import sys
from pathlib import Path

import pytest

from composer.sources.shipped import shipped

MINI = shipped("bundles") / "mega-asr-mini"
# What composer imports, of its own and of the standard library, and what these import in turn.
MODULES = (
    "__future__", "argparse", "ast", "asyncio", "click", "composer_local", "ctypes", "dataclasses",
    "decimal", "filelock", "hashlib", "huggingface_hub", "inspect", "json", "librosa", "logging",
    "numba", "numpy", "onnxruntime", "pathlib", "pydantic", "resource", "rich", "safetensors",
    "shlex", "soundfile", "soxr", "subprocess", "tempfile", "tokenizers", "typer", "typing",
    "unicodedata", "uuid", "yaml",
)  # fmt: skip
MARK = "import pathlib; pathlib.Path(__file__).with_suffix('.ran').touch()\n"


@pytest.fixture
def sent(tmp_path):
    """Make a folder with a module of every name, and a plug-in that registers itself."""
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(MARK)
    info = tmp_path / "evil-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    entry = "[composer.components]\nevil.part = composer_local:Evil\n"
    (info / "entry_points.txt").write_text(entry)
    return tmp_path


def python(folder, *arguments, data=None):
    """Run Python in a folder, and return its exit code and which modules of the folder ran."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        input=data,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return done.returncode, sorted(path.stem for path in folder.glob("*.ran")), done.stderr.decode()


@pytest.mark.parametrize(
    "arguments", [["list"], ["doctor"], ["check", MINI], ["new", "mine"]], ids=lambda a: a[0]
)
def test_no_module_of_the_folder_is_imported(sent, arguments):
    code, ran, err = python(sent, "-m", "composer", *arguments)
    assert (code, ran) == (0, []), err


@pytest.mark.parametrize(
    "module", ["composer.runtime.sandbox_child", "composer.benchmark.child"], ids=["load", "bench"]
)
def test_nor_by_a_child(sent, module):
    _, ran, _ = python(sent, "-m", module, data=b"")
    assert ran == []


def test_nor_by_the_script(sent):
    script = Path(sys.executable).with_name("composer")
    code, ran, err = python(sent, script, "check", MINI)
    assert (code, ran) == (0, []), err


def test_another_module_that_imports_composer_keeps_its_folder(tmp_path):
    (tmp_path / "mine.py").write_text("import composer, beside\n")
    (tmp_path / "beside.py").write_text(MARK)
    assert python(tmp_path, "-m", "mine")[:2] == (0, ["beside"])


def test_no_compiler_reads_settings_of_the_folder(tmp_path):
    """librosa imports numba, which obeys the .numba_config.yaml of the working folder."""
    code = """
import sys
from composer.components.audio.mel_filters import computed_mel_filters
computed_mel_filters(22050, 512, 40)
assert not {"numba", "librosa"} & set(sys.modules)
"""
    assert python(tmp_path, "-c", code)[0] == 0

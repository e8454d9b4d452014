"""An untrusted folder: no module of it is imported, no link of it is followed."""

import subprocess
import sys
from pathlib import Path

import pytest

from composer.core import safe_write
from composer.sources.shipped import shipped_folder
from tests.formats.test_tokenizer import tokenizer
from tests.hostile.making import PROMPT, bundle

FILE = "tokenizer/tokenizer.json"
MINI = shipped_folder("bundles") / "mega-asr-mini"
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
    "module",
    ["composer.runtime.sandbox_child", "composer.benchmarking.benchmark_child"],
    ids=["load", "bench"],
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


def outside(tmp_path):
    """Write a file beside the folder that was sent, which nothing may touch or show."""
    secret = tmp_path.parent / f"{tmp_path.name}-secret"
    secret.write_text("root: x\n")
    return secret


def test_a_lock_is_not_written_through_a_link(tmp_path, cli, hub_home):
    folder, secret = bundle(tmp_path, PROMPT, {FILE: tokenizer()}), outside(tmp_path)
    (folder / "bundle.lock").symlink_to(secret)
    code, out, err = cli("lock", folder)
    assert (code, out) == (5, "")
    assert "bundle.lock: R507 cannot write: it is a link, and would be written through" in err
    assert secret.read_text() == "root: x\n"


@pytest.mark.parametrize("command", ["show", "plan"])
def test_no_output_is_written_through_a_link(tmp_path, cli, command):
    folder, secret = bundle(tmp_path, PROMPT, {FILE: tokenizer()}), outside(tmp_path)
    (folder / "graph.txt").symlink_to(secret)
    arguments = ["-o", folder / "graph.txt"]
    if command == "plan":
        (folder / "made").mkdir()
        (folder / "made" / "clip.txt").symlink_to(secret)
        arguments = ["--json"]
    cli(command, folder, *arguments)
    assert secret.read_text() == "root: x\n"


def test_an_output_that_cannot_be_whole_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "made.txt").write_text("before")
    monkeypatch.setattr(safe_write.Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28)))
    with pytest.raises(OSError, match="28"):
        safe_write.write_whole(tmp_path / "made.txt", b"after")
    assert [path.name for path in tmp_path.iterdir()] == ["made.txt"]
    assert (tmp_path / "made.txt").read_text() == "before"


def test_a_device_is_written_as_it_is(tmp_path):
    safe_write.write_whole(Path("/dev/null"), b"gone")
    assert Path("/dev/null").is_char_device()


def test_nothing_is_added_through_a_link(tmp_path):
    secret = outside(tmp_path)
    (tmp_path / "lines.jsonl").symlink_to(secret)
    with pytest.raises(OSError, match="it is a link"):
        safe_write.append_to(tmp_path / "lines.jsonl", b"more")
    assert secret.read_text() == "root: x\n"


@pytest.mark.parametrize("name", ["LICENSE", "NOTES.md", "README.md", "bundle.yaml", FILE])
def test_nothing_that_a_link_points_to_is_uploaded(tmp_path, cli, hub_home, name):
    folder, secret = bundle(tmp_path, PROMPT, {FILE: tokenizer()}), outside(tmp_path)
    path = folder / name
    if path.exists():
        secret = path.rename(folder / "inside")
    path.symlink_to(secret)
    code, out, err = cli("publish", folder, "me/bundle")
    assert (code, out) == (3, "")
    assert name in err
    assert "it is a link" in err


def test_the_lines_of_what_a_manifest_links_to_are_not_shown(tmp_path, cli):
    (tmp_path / "bundle.yaml").symlink_to(outside(tmp_path))
    for command in ("check", "show", "plan", "licences", "lock"):
        code, out, err = cli(command, tmp_path)
        assert code == 3
        assert out.count("\n") <= 1
        assert "bundle.yaml: M100 this is a link that leads out of its folder" in err
        assert "'root'" not in err


def test_a_link_inside_a_folder_is_followed(tmp_path, cli):
    folder = bundle(tmp_path, PROMPT, {FILE: tokenizer()})
    (folder / "bundle.yaml").rename(folder / "plain.yaml")
    (folder / "bundle.yaml").symlink_to("plain.yaml")
    assert cli("check", folder)[0] == 0

"""`composer transcribe` writes lines and files whole, and keeps what is there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from shutil import ignore_patterns

import pytest

from composer.core.output import hold_folder_lock
from composer.sources.shipped import shipped_folder

pytestmark = pytest.mark.usefixtures("fakes")


def test_json_is_one_array(cli, bundle, clip):
    code, out, err = cli("transcribe", bundle, clip("a.wav"), clip("b.wav"), "-f", "json")
    assert (code, err) == (0, "")
    assert [entry["text"] for entry in json.loads(out)] == ["7.", "7."]


@pytest.mark.parametrize(
    ("format", "files"),
    [
        ("txt", {"a.txt", "b.txt"}),
        ("json", {"a.json", "b.json", "none.json"}),
        ("jsonl", {"transcripts.jsonl"}),
    ],
)
def test_files(cli, bundle, clip, tmp_path, format, files):
    folder = tmp_path / "new" / "out"
    clips = [clip("a.wav"), tmp_path / "none.wav", clip("x/b.flac.wav").rename(tmp_path / "b.wav")]
    code, out, _ = cli("transcribe", bundle, *clips, "-f", format, "-o", folder)
    assert (code, out) == (5, "")
    assert {path.name for path in folder.iterdir()} == files | {f".run.{format}.jsonl"}
    if format == "txt":
        assert (folder / "a.txt").read_text() == "7.\n"
    if format == "json":
        assert json.loads((folder / "a.json").read_text())["text"] == "7."
        assert json.loads((folder / "none.json").read_text())["error"][0]["code"] == "S480"
    if format == "jsonl":
        lines = (folder / "transcripts.jsonl").read_text().splitlines()
        assert [json.loads(line)["audio"] for line in lines] == [str(each) for each in clips]


@pytest.fixture
def interrupted(monkeypatch):
    """Interrupt a command after two clips; `after` is called after each."""

    class Seen:
        after = staticmethod(lambda: None)

    def map_(self, items, in_flight, **given):
        for item in (item for item, _ in zip(items, range(2), strict=False)):
            yield self.run(**given, **item)
            Seen.after()
        raise KeyboardInterrupt

    monkeypatch.setattr("composer.runtime.bundle.Bundle.map", map_)
    return Seen


def test_lines_are_written_as_clips_end(cli, bundle, clip, tmp_path, interrupted):
    target = tmp_path / "out" / "transcripts.jsonl"
    seen = []
    interrupted.after = lambda: seen.append(len(target.read_text().splitlines()))
    clips = [clip(f"{n}.wav") for n in range(3)]
    code, out, _ = cli("transcribe", bundle, *clips, "-f", "jsonl", "-o", tmp_path / "out")
    assert (code, out, seen) == (130, "", [1, 2])
    lines = target.read_text().splitlines()
    assert [json.loads(line)["audio"] for line in lines] == [str(each) for each in clips[:2]]


def test_an_interrupt_leaves_a_whole_array(cli, bundle, clip, interrupted):
    clips = [clip(f"{n}.wav") for n in range(3)]
    code, out, _ = cli("transcribe", bundle, *clips, "-f", "json")
    assert code == 130
    assert [entry["audio"] for entry in json.loads(out)] == [str(each) for each in clips[:2]]


def test_a_run_replaces_the_lines_of_the_last_once_it_has_loaded(cli, bundle, clip, tmp_path):
    call = ["transcribe", bundle, clip(), "-f", "jsonl", "-o", tmp_path / "out"]
    for more in ([], ["--force"]):
        assert cli(*call, *more)[0] == 0
        assert len((tmp_path / "out" / "transcripts.jsonl").read_text().splitlines()) == 1
    profile = tmp_path / "small.yaml"
    profile.write_text("memory_gb: 0.0000001\n")
    assert cli(*call, "--force", "--profile", profile)[0] == 5
    assert len((tmp_path / "out" / "transcripts.jsonl").read_text().splitlines()) == 1


def test_lines_that_cannot_be_written_are_refused_before_anything_is_loaded(
    cli, bundle, clip, tmp_path, monkeypatch
):
    monkeypatch.setattr("composer.runtime.bundle.Bundle.load", None)
    target = tmp_path / "out" / "transcripts.jsonl"
    target.mkdir(parents=True)
    code, out, err = cli("transcribe", bundle, clip(), "-f", "jsonl", "-o", tmp_path / "out")
    assert (code, out) == (5, "")
    assert err == f"{target}: R507 cannot write: Is a directory\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_reported(cli, bundle, clip, tmp_path):
    target = tmp_path / "out" / "transcripts.jsonl"
    target.parent.mkdir()
    target.symlink_to("/dev/full")
    code, out, err = cli("transcribe", bundle, clip(), "-f", "jsonl", "-o", tmp_path / "out")
    assert (code, out) == (5, "")
    assert err == f"{target}: R507 cannot write: No space left on device\n"


@pytest.mark.parametrize("other", ["x/clip.wav", "CLIP.flac"])
def test_two_clips_never_share_a_file(cli, bundle, clip, tmp_path, other):
    clips = [clip(), clip(other)]
    code, out, err = cli("transcribe", bundle, *clips, "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert "would both be written to" in " ".join(err.split())
    assert not (tmp_path / "out").exists()
    assert cli("transcribe", bundle, *clips, "-f", "jsonl", "-o", tmp_path / "out")[0] == 0


@pytest.mark.parametrize("format", ["txt", "json", "jsonl"])
def test_nothing_that_is_there_is_replaced_without_force(
    cli, bundle, clip, tmp_path, monkeypatch, format
):
    """References made by hand lie beside clips under the same names."""
    path = clip("out/clip.wav")
    mine = tmp_path / "out" / ("transcripts.jsonl" if format == "jsonl" else f"clip.{format}")
    mine.write_text("by hand")
    call = ["transcribe", bundle, path, "-f", format, "-o", tmp_path / "out"]
    with monkeypatch.context() as unloaded:
        unloaded.setattr("composer.runtime.bundle.Bundle.load", None)
        code, out, err = cli(*call)
    assert (code, out, mine.read_text()) == (5, "", "by hand")
    assert err.splitlines() == [
        f"{mine}: R507 there is a file already",
        "    hint: choose another name, or replace it by --force (force=True in Python)",
    ]
    assert cli(*call, "--force")[0] == 0
    assert "7." in mine.read_text()


def test_one_writer_holds_a_folder(cli, bundle, clip, tmp_path):
    with hold_folder_lock(tmp_path / "out"):
        code, out, err = cli("transcribe", bundle, clip(), "-o", tmp_path / "out")
    assert (code, out) == (5, "")
    assert f"{tmp_path}/out: R507 another process is writing here" in err
    assert cli("transcribe", bundle, clip(), "-o", tmp_path / "out")[0] == 0


def test_json_is_valid_in_every_locale(tmp_path):
    """What the terminal's encoding lacks is written as JSON writes it."""
    program = (
        "import sys\n"
        "from composer.cli.app import main\n"
        "from composer.cli.printing import echo\n"
        "from composer.core.output import json_text\n"
        "sys.argv = ['composer', '--version']\n"
        "main(['--version'])\n"
        "echo(json_text(['\u00e9', '\u4f60', '\U0001f3a7'], None))\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    line = done.stdout.decode("ascii").splitlines()[-1]
    assert json.loads(line) == ["\u00e9", "\u4f60", "\U0001f3a7"]


LOCALES = [
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "0"},
    {"PYTHONIOENCODING": "latin-1"},
]


@pytest.mark.slow
@pytest.mark.parametrize("locale", LOCALES, ids=str)
def test_a_bundle_and_a_clip_of_any_name_in_every_locale(tmp_path, locale):
    """Where Python takes names for ASCII, the libraries take their bytes for UTF-8."""
    mini = shipped_folder("bundles") / "mega-asr-mini"
    own = shutil.copytree(mini, tmp_path / "b\u00fcndel \u011f", ignore=ignore_patterns("clips"))
    clip = shutil.copy(next((mini / "clips").glob("*.flac")), tmp_path / "\u0131 \u4f60.flac")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "composer", "transcribe", own, clip, "-f", "json"],
        env=kept | locale, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    (found,) = json.loads(done.stdout)
    assert found["text"]
    assert os.fsencode(found["audio"]).decode().endswith(".flac")


def test_a_disk_that_fills_up_is_one_error(cli, bundle, clip, tmp_path, monkeypatch):
    """The limit of a file's size stands in for the disk's: no half of a line stays."""
    import resource
    import signal

    monkeypatch.setattr("composer.jobs.finished_clips.append_text", lambda path, text: None)
    clips = [clip(f"{n}.wav") for n in range(5)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        code, _, err = cli("transcribe", bundle, *clips, "-f", "jsonl", "-o", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    target = tmp_path / "out" / "transcripts.jsonl"
    assert code == 5
    assert err == f"{target}: R507 cannot write: File too large\n"
    lines = target.read_text().splitlines()
    assert 0 < len(lines) < 5
    assert all(json.loads(line)["text"] == "7." for line in lines)


@pytest.mark.parametrize("format", ["txt", "json", "srt", "jsonl"])
def test_a_disk_that_is_full_leaves_no_empty_file(cli, bundle, clip, tmp_path, format):
    import resource
    import signal

    clips, out = [clip(f"{n}.wav") for n in range(2)], tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        code, _, err = cli("transcribe", bundle, *clips, "-f", format, "-o", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert code == 5
    assert err.startswith(f"{out}/")
    assert err.endswith(": R507 cannot write: File too large\n")
    assert err.count("\n") == 1
    assert [path.name for path in out.iterdir() if not path.stat().st_size] == []
    assert cli("transcribe", bundle, *clips, "-f", format, "-o", out)[0] == 0


def test_an_output_folder_that_cannot_be(cli, bundle, clip, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = cli("transcribe", bundle, clip(), "-o", tmp_path / "file" / "out")
    assert code == 5
    assert "R507 cannot write" in err


def test_several_formats_at_once(cli, tmp_path, bundle, clip):
    out = tmp_path / "out"
    clips = [clip(name="a.wav"), clip(name="b.wav")]
    call = ["transcribe", bundle, *clips, "-f", "txt", "-f", "srt", "-f", "jsonl"]
    assert cli(*call, "-o", out)[0] == 0
    visible = sorted(each.name for each in out.iterdir() if each.name[0] != ".")
    assert visible == ["a.srt", "a.txt", "b.srt", "b.txt", "transcripts.jsonl"]
    assert (out / "a.txt").read_text() == "7.\n"
    assert len((out / "transcripts.jsonl").read_text().splitlines()) == 2
    # Only what is missing is written again, and nothing twice.
    (out / "b.srt").unlink()
    code, _, err = cli(*call, "-o", out, "--resume")
    assert (code, err) == (0, "")
    assert (out / "b.srt").is_file()
    assert len((out / "transcripts.jsonl").read_text().splitlines()) == 2
    code, _, err = cli(*call)
    assert code == 2
    assert "txt and srt and jsonl go to files: give -o DIR" in err
    twice = ["transcribe", bundle, *clips, "-f", "txt", "-f", "txt", "-o", tmp_path / "more"]
    assert cli(*twice)[::2] == (2, "R544 a format is given twice: txt, txt\n")

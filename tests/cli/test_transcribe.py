import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from composer.core.output import sole_writer
from tests.fakes import BUNDLE, write

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("fakes")


@pytest.fixture
def bundle(tmp_path):
    return write(tmp_path)


def test_line_n_is_clip_n(cli, bundle, clip, tmp_path):
    clips = [clip("a.wav"), tmp_path / "none.wav", clip("b c.wav", frames=4)]
    code, out, err = cli("transcribe", bundle, *clips)
    assert (code, out) == (5, "7.\n\n5.\n")
    lines = err.splitlines()
    assert lines[0] == f"{tmp_path}/none.wav:"
    assert lines[1].startswith(f"{tmp_path}/none.wav: S480 the audio file cannot be opened")
    assert lines[-1] == "1 of 3 clips failed"


def test_the_order_is_that_of_the_clips(cli, bundle, clip):
    clips = [clip(f"{n}.wav", frames=2 * n) for n in (9, 1, 5, 2, 7)]
    assert cli("transcribe", bundle, *clips, "--jobs", 4)[1] == "12.\n4.\n8.\n5.\n10.\n"


def test_jsonl(cli, bundle, clip, tmp_path):
    code, out, _ = cli("transcribe", bundle, clip(), tmp_path / "none.wav", "-f", "jsonl")
    good, bad = map(json.loads, out.splitlines())
    assert code == 5
    assert good.pop("seconds") >= 0
    assert good == {
        "audio": str(clip()), "text": "7.", "outputs": {"text": "7."}, "finish_reason": "stop",
        "tokens": 2, "notes": [],
    }  # fmt: skip
    assert list(bad) == ["audio", "error"]
    assert bad["audio"] == f"{tmp_path}/none.wav"
    assert [problem["code"] for problem in bad["error"]] == ["S480"]


def test_no_output_takes_the_place_of_a_field(cli, tmp_path, clip):
    outputs = "outputs: {text: $answer.text, error: $answer.text, seconds: $answer.ids}"
    path = write(tmp_path, BUNDLE, ("outputs: {text: $answer.text}", outputs))
    found = json.loads(cli("transcribe", path, clip(), "-f", "jsonl")[1])
    assert list(found) == [
        "audio",
        "text",
        "outputs",
        "finish_reason",
        "tokens",
        "seconds",
        "notes",
    ]
    assert found["outputs"] == {"text": "7.", "error": "7.", "seconds": [55, 46]}
    assert isinstance(found["seconds"], float)


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
    assert {path.name for path in folder.iterdir()} == files
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
def test_a_full_disk_is_told(cli, bundle, clip, tmp_path):
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


def test_a_folder_is_the_clips_in_it(cli, bundle, clip, tmp_path):
    first, second = clip("talks/a.wav"), clip("talks/deep/b.wav", frames=4)
    (tmp_path / "talks" / "notes.txt").write_text("no clip")
    code, out, _ = cli("transcribe", bundle, tmp_path / "talks", "-f", "jsonl")
    assert code == 0
    assert [json.loads(line)["audio"] for line in out.splitlines()] == [str(first), str(second)]
    (tmp_path / "empty").mkdir()
    code, out, err = cli("transcribe", bundle, tmp_path / "empty")
    assert (code, out) == (2, "")
    assert "R542 no clip is in the folder" in err


def test_a_clip_on_stdin(cli, bundle, clip, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(clip().read_bytes())))
    code, out, _ = cli("transcribe", bundle, "-", "-f", "jsonl")
    assert code == 0
    assert json.loads(out)["audio"] == "-"
    assert json.loads(out)["text"] == "7."


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


@pytest.mark.parametrize("format", ["txt", "jsonl"])
def test_resume_runs_only_what_is_not_there(cli, bundle, clip, tmp_path, format):
    first, broken, last = clip("a.wav"), tmp_path / "b.wav", clip("c.wav", frames=4)
    call = ["transcribe", bundle, "-f", format, "-o", tmp_path / "out"]
    assert cli(*call, first, broken)[0] == 5
    clip("b.wav", frames=6)
    first.unlink()  # it is not run again, or it would fail
    assert cli(*call, first, broken, last, "--resume")[0] == 0
    if format == "jsonl":
        lines = (tmp_path / "out" / "transcripts.jsonl").read_text().splitlines()
        assert [json.loads(line)["text"] for line in lines] == ["7.", "6.", "5."]
    else:
        texts = [(tmp_path / "out" / f"{n}.txt").read_text() for n in "abc"]
        assert texts == ["7.\n", "6.\n", "5.\n"]


def test_resume_takes_no_other_file_for_its_own(cli, bundle, clip, tmp_path):
    (tmp_path / "transcripts.jsonl").write_text("notes\n")
    code, _, err = cli("transcribe", bundle, clip(), "-f", "jsonl", "-o", tmp_path, "--resume")
    assert code == 5
    assert "R507 these are no transcripts" in err
    assert (tmp_path / "transcripts.jsonl").read_text() == "notes\n"


def test_one_writer_holds_a_folder(cli, bundle, clip, tmp_path):
    with sole_writer(tmp_path / "out"):
        code, out, err = cli("transcribe", bundle, clip(), "-o", tmp_path / "out")
    assert (code, out) == (5, "")
    assert f"{tmp_path}/out: R507 another process is writing here" in err
    assert cli("transcribe", bundle, clip(), "-o", tmp_path / "out")[0] == 0


def test_a_language_is_called_by_its_code_too(cli, tmp_path, clip):
    change = ("said: {type: text, default: hi}", "language: {type: text, default: English}")
    path = write(tmp_path, BUNDLE, change, ("$said", "$language"))
    assert cli("transcribe", path, clip(), "-l", "de")[0] == 0
    from composer.core.languages import spelled

    assert [spelled("en", "English"), spelled("GERMAN", "English")] == ["English", "German"]
    assert [spelled("english", "en"), spelled("fr", "en")] == ["en", "fr"]
    assert spelled("Klingon", "English") == "Klingon"


def test_a_language_that_no_bundle_has_is_refused_before_loading(cli, bundle, clip, monkeypatch):
    monkeypatch.setattr("composer.runtime.bundle.Bundle.load", None)
    code, _, err = cli("transcribe", bundle, clip(), "-l", "en")
    assert code in (2, 5)
    assert "has no input 'language'" in err
    code, _, err = cli("transcribe", "mega-asr-mini", clip(), "-l", "xx")
    assert code == 5
    assert "R527 'xx' is not a language of this model" in err


def test_json_is_valid_in_every_locale(tmp_path):
    """What the terminal's encoding lacks is written as JSON writes it."""
    program = (
        "import sys\n"
        "from composer.cli.app import main\n"
        "from composer.cli.printing import say\n"
        "from composer.core.output import as_json\n"
        "sys.argv = ['composer', '--version']\n"
        "main(['--version'])\n"
        "say(as_json(['\u00e9', '\u4f60', '\U0001f3a7'], None))\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    line = done.stdout.decode("ascii").splitlines()[-1]
    assert json.loads(line) == ["\u00e9", "\u4f60", "\U0001f3a7"]


def test_a_disk_that_fills_up_is_one_error(cli, bundle, clip, tmp_path):
    """The limit of a file's size stands in for the disk's: no half of a line stays."""
    import resource
    import signal

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


def test_inputs_and_settings(cli, bundle, clip):
    call = ["transcribe", bundle, clip()]
    assert cli(*call, "-i", "said=")[1] == "5.\n"
    code, out, err = cli(*call, "--set", "answer.max_tokens=1")
    assert (code, out) == (0, "7\n")
    assert err.startswith(f"{clip()}: warning: the answer was cut")


def test_language_is_an_input(cli, tmp_path, clip):
    change = ("said: {type: text, default: hi}", "language: {type: text, default: English}")
    path = write(tmp_path, BUNDLE, change, ("$said", "$language"))
    assert cli("transcribe", path, clip(), "-l", "Malay")[1] == "10.\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-i", "sad=x"], "R540 the bundle has no input 'sad'"),
        (["-l", "English"], "R540 the bundle has no input 'language'"),
        (["-i", "audio=x.wav"], "name the clips as arguments"),
        (["--task", "chat"], "R543 the bundle has no task 'chat'"),
        (["--set", "answer.top_k=3"], "R544 cannot set answer.top_k"),
        (["--jobs", "0"], "Invalid value for '--jobs'"),
        (["-f", "srt"], "R544 there is no output format 'srt'; there are: json, jsonl, txt"),
    ],
)
def test_a_wrong_call_runs_nothing(cli, bundle, clip, monkeypatch, arguments, says):
    monkeypatch.setattr("composer.runtime.bundle.Bundle.load", None)
    code, out, err = cli("transcribe", bundle, clip(), *arguments)
    assert (code, out) == (2, "")
    assert says in err


def test_a_task_without_audio(cli, tmp_path):
    path = tmp_path / "bundle.yaml"
    path.write_text(
        "composer: 1\nname: louder\ncomponents: {up: {use: fake.upper}}\ninputs: {text: text}\n"
        "graph: {out: {run: up, with: {text: $text}}}\noutputs: {text: $out}\n"
    )
    code, _, err = cli("transcribe", path, "a.wav")
    assert code == 2
    assert "takes no audio; composer run gives every input" in " ".join(err.split())


def test_an_output_folder_that_cannot_be(cli, bundle, clip, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = cli("transcribe", bundle, clip(), "-o", tmp_path / "file" / "out")
    assert code == 5
    assert "R507 cannot write" in err


def on_a_terminal(*arguments):
    """Run composer with its stderr on a terminal; return stdout and what the terminal saw."""
    pty = pytest.importorskip("pty")
    program = (
        "import sys\nfrom composer import registry\nfrom composer.cli import main\n"
        "from tests.fakes import FAKES\nfor each in FAKES: registry.add(each)\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    terminal, stderr = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "TERM": "xterm"},
    ) as process:
        out = process.stdout.read()
    os.close(stderr)
    seen = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert process.returncode == 0
    return out, seen


def test_progress_is_for_terminals_and_off_stdout(cli, bundle, clip, tmp_path):
    out, shown = on_a_terminal("transcribe", bundle, clip())
    assert out == b"7.\n"
    assert "loading fake-asr" in shown
    assert "1/1" in shown
    assert re.search(r"\x1b\[[\d;]*m", shown.replace("\x1b[0m", "")) is None
    assert cli("transcribe", bundle, clip()) == (0, "7.\n", "")


def test_a_run_says_that_it_runs(cli, bundle, clip):
    call = ["run", bundle, "-i", f"audio={clip()}"]
    out, shown = on_a_terminal(*call)
    assert out == b"7.\n"
    assert "running fake-asr" in shown
    assert cli(*call) == (0, "7.\n", "")


def test_a_recording_that_was_cut_short_is_read_by_an_option(cli, bundle, clip):
    path = clip(frames=40)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert cli("transcribe", bundle, path)[0] == 5
    code, out, err = cli("transcribe", bundle, path, "--partial", "-f", "jsonl")
    note = (
        "read as far as it goes, 0.00 s: the WAV file is truncated: its header declares 80 bytes "
        "of samples, but the file has 60"
    )
    assert code == 0
    assert json.loads(out)["notes"] == [note]
    assert err == f"{path}: {note}\n"


def test_a_channel_is_chosen_on_the_command_line(cli, bundle, tmp_path):
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([np.full(4000, 0.5), np.full(4000, -0.5)], 1), 8000)
    code, _, err = cli("transcribe", bundle, path)
    assert (code, "S488" in err) == (5, True)
    code, out, err = cli("transcribe", bundle, path, "--channel", "left")
    assert (code, out) == (0, "200\n")
    assert err.splitlines()[0] == f"{path}: the left channel of 2"
    assert cli("transcribe", bundle, path, "--channel", "middle")[0] == 2

"""`composer transcribe`: clips, languages, settings and progress."""

import io
import json
import os
import re
import subprocess
import sys
from functools import partial, wraps
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from tests.fakes import BUNDLE, Ask, write

pytestmark = pytest.mark.usefixtures("fakes")

ROOT = Path(__file__).parents[2]


def test_line_n_is_clip_n(cli, bundle, clip, tmp_path):
    clips = [clip("a.wav"), tmp_path / "none.wav", clip("b c.wav", frames=4)]
    code, out, err = cli("transcribe", bundle, *clips)
    assert (code, out) == (5, f"{clips[0]}: 7.\n{clips[1]}: \n{clips[2]}: 5.\n")
    lines = err.splitlines()
    assert lines[0] == f"{tmp_path}/none.wav:"
    assert lines[1].startswith(f"{tmp_path}/none.wav: S480 the audio file cannot be opened")
    assert lines[-1] == "1 of 3 clips failed"


FORGING = "a.wav: S483\nb.wav: 7.\x1b[31m\u202e\r\t.wav"
SHOWN = r"a.wav: S483\nb.wav: 7.\x1b[31m\u202e\r\t.wav"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_name_with_line_breaks_and_escapes_forges_no_line(
    cli, terminal, bundle, clip, tmp_path, monkeypatch, is_terminal
):
    """In every command that prints the name of a clip."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    call = partial(terminal, 1000) if is_terminal else cli
    clip(FORGING)
    Path(f"bad {FORGING}").write_bytes(b"RIFF\0\0\0\0WAVE")
    Path("data.jsonl").write_text(
        "".join(
            json.dumps({"audio": name, "text": "8.", "kind": name}) + "\n"
            for name in (FORGING, f"bad {FORGING}")
        )
    )
    for arguments in (
        ["transcribe", bundle, FORGING, f"bad {FORGING}"],
        ["transcribe", bundle, "data.jsonl", f"none {FORGING}"],
        ["eval", bundle, "data.jsonl", "--by", "kind"],
        ["run", bundle, "-i", f"audio=bad {FORGING}"],
        ["check", FORGING],
        ["lock", FORGING],
        ["show", f"none {FORGING}"],
    ):
        code, out, err = call(*arguments)
        assert code in (3, 5), err
        assert SHOWN in out + err
        for part in ("\x1b[31m", "\u202e", "\t", "\nb.wav"):
            assert part not in out + err


class Panic(BaseException):
    """What PyO3 raises where Rust panics."""


def panic_at(rows, monkeypatch):
    """Let the component that reads texts panic at a clip of so many rows."""
    native = Ask.__call__

    @wraps(native)
    def call(self, speech, line):
        if len(speech) == rows:
            raise Panic("range end index 9 out of range")
        return native(self, speech, line)

    monkeypatch.setattr(Ask, "__call__", call)


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_clip_whose_text_panics_stops_no_other(cli, bundle, clip, monkeypatch, jobs):
    clips = [clip("a.wav"), clip("b.wav", frames=4), clip("c.wav", frames=12)]
    panic_at(2, monkeypatch)
    code, out, err = cli("transcribe", bundle, *clips, "--jobs", jobs)
    assert (code, out) == (5, f"{clips[0]}: 7.\n{clips[1]}: \n{clips[2]}: 9.\n")
    assert "R500 ask failed: Panic: range end index 9 out of range\n" in err
    assert err.splitlines()[-1] == "1 of 3 clips failed"
    assert "Traceback" not in err


def test_the_order_is_that_of_the_clips(cli, bundle, clip):
    clips = [clip(f"{n}.wav", frames=2 * n) for n in (9, 1, 5, 2, 7)]
    _, out, _ = cli("transcribe", bundle, *clips, "--jobs", 4)
    texts = ("12.", "4.", "8.", "5.", "10.")
    assert out.splitlines() == [f"{clip}: {text}" for clip, text in zip(clips, texts, strict=True)]


def test_a_clip_whose_name_has_lines_has_one_line(cli, bundle, clip):
    clips = [clip("a\nb.wav"), clip()]
    _, out, _ = cli("transcribe", bundle, *clips)
    assert out == f"{clips[0].parent}/a\\nb.wav: 7.\n{clips[1]}: 7.\n"


def test_jsonl(cli, bundle, clip, tmp_path):
    code, out, _ = cli("transcribe", bundle, clip(), tmp_path / "none.wav", "-f", "jsonl")
    good, bad = map(json.loads, out.splitlines())
    assert code == 5
    assert good.pop("seconds") >= 0
    (segment,) = good.pop("segments")
    assert (segment["start"], segment["text"]) == (0.0, "7.")
    assert good == {
        "audio": str(clip()), "text": "7.", "outputs": {"text": "7."}, "finish_reason": "stop",
        "tokens": 2, "notes": [], "coverage": {"audio": 0.001, "run": 0.001, "silent": 0.0},
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
        "coverage",
        "segments",
    ]
    assert found["outputs"] == {"text": "7.", "error": "7.", "seconds": [55, 46]}
    assert isinstance(found["seconds"], float)


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


def test_a_pattern_is_what_it_matches(cli, bundle, clip, tmp_path):
    first, deep = clip("talks/a [x].wav"), clip("talks/deep/b.WAV")
    names = []
    for pattern in ("talks/**/*.[wW]*", "talks/a [x].wav", "talks/d*", "talks/?.mp3"):
        out = cli("transcribe", bundle, tmp_path / pattern, "-f", "jsonl")[1]
        names.append([json.loads(line)["audio"] for line in out.splitlines()])
    none = str(tmp_path / "talks" / "?.mp3")
    assert names == [[str(first), str(deep)], [str(first)], [str(deep)], [none]]
    assert json.loads(out)["error"][0]["code"] == "S480"


def test_stdin_is_read_once(cli, bundle):
    code, _, err = cli("transcribe", bundle, "-", "-")
    assert code == 2
    assert "- is standard input, which is read once" in " ".join(err.split())


def test_a_clip_on_stdin(cli, bundle, clip, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(clip().read_bytes())))
    code, out, _ = cli("transcribe", bundle, "-", "-f", "jsonl")
    assert code == 0
    assert json.loads(out)["audio"] == "-"
    assert json.loads(out)["text"] == "7."


def test_a_language_is_called_by_its_code_too(cli, tmp_path, clip):
    change = ("line: {type: text, default: hi}", "language: {type: text, default: English}")
    path = write(tmp_path, BUNDLE, change, ("$line", "$language"))
    assert cli("transcribe", path, clip(), "-l", "de")[0] == 0
    from composer.core.languages import in_spelling_of

    assert [in_spelling_of("en", "English"), in_spelling_of("GERMAN", "English")] == [
        "English",
        "German",
    ]
    assert [in_spelling_of("english", "en"), in_spelling_of("fr", "en")] == ["en", "fr"]
    assert in_spelling_of("Klingon", "English") == "Klingon"


def test_a_language_that_no_bundle_has_is_refused_before_loading(cli, bundle, clip, monkeypatch):
    monkeypatch.setattr("composer.runtime.bundle.Bundle.load", None)
    code, _, err = cli("transcribe", bundle, clip(), "-l", "en")
    assert code in (2, 5)
    assert "has no input 'language'" in err
    code, _, err = cli("transcribe", "mega-asr-mini", clip(), "-l", "xx")
    assert code == 5
    assert "R527 'xx' is not a language of this model" in err


def test_inputs_and_settings(cli, bundle, clip):
    call = ["transcribe", bundle, clip()]
    assert cli(*call, "-i", "line=")[1] == "5.\n"
    code, out, err = cli(*call, "--set", "answer.max_tokens=1")
    assert (code, out) == (0, "7\n")
    assert err.startswith(f"{clip()}: warning: the answer was cut")


def test_language_is_an_input(cli, tmp_path, clip):
    change = ("line: {type: text, default: hi}", "language: {type: text, default: English}")
    path = write(tmp_path, BUNDLE, change, ("$line", "$language"))
    assert cli("transcribe", path, clip(), "-l", "Malay")[1] == "10.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-i", "sad=x"], "R540 the bundle has no input 'sad'"),
        (["-l", "English"], "R540 the bundle has no input 'language'"),
        (["-i", "audio=x.wav"], "name the clips as arguments"),
        (["--task", "chat"], "R543 the bundle has no task 'chat'"),
        (["--set", "answer.top_k=3"], "R544 cannot set answer.top_k"),
        (["--jobs", "0"], "Invalid value for '--jobs'"),
        (["-f", "srt,txt"], "'srt,txt'; give each by itself: -f srt -f txt"),
        (["-f", "lrc"], "R544 there is no output format 'lrc'; there are: json, jsonl, srt, tsv"),
    ],
)
def test_a_wrong_call_runs_nothing(cli, bundle, clip, monkeypatch, arguments, message):
    monkeypatch.setattr("composer.runtime.bundle.Bundle.load", None)
    code, out, err = cli("transcribe", bundle, clip(), *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_task_without_audio(cli, tmp_path):
    path = tmp_path / "bundle.yaml"
    path.write_text(
        "composer: 1\nname: louder\ncomponents: {up: {use: fake.upper}}\ninputs: {text: text}\n"
        "graph: {out: {run: up, with: {text: $text}}}\noutputs: {text: $out}\n"
    )
    code, _, err = cli("transcribe", path, "a.wav")
    assert code == 2
    assert "takes no audio; composer run gives every input" in " ".join(err.split())


def on_a_terminal(*arguments):
    """Run composer with its stderr on a terminal; return stdout and what the terminal saw."""
    pty = pytest.importorskip("pty")
    program = (
        "import sys\nfrom composer import registry\nfrom composer.cli import main\n"
        "from tests.fakes import FAKES\nfor each in FAKES: registry.register_component(each)\n"
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
    soundfile.write(
        path, np.stack([np.tile([0.5, -0.3], 2000), np.tile([-0.5, 0.3], 2000)], 1), 8000
    )
    code, _, err = cli("transcribe", bundle, path)
    assert (code, "S488" in err) == (5, True)
    code, out, err = cli("transcribe", bundle, path, "--channel", "left")
    assert (code, out) == (0, "200\n")
    assert err.splitlines()[0] == f"{path}: the left channel of 2"
    assert cli("transcribe", bundle, path, "--channel", "middle")[0] == 2

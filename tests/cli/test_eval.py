import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from composer.evaluation.journal import read_results
from tests.cli.test_transcribe import panic_at
from tests.fakes import BUNDLE, write

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("fakes")


@pytest.fixture
def bundle(tmp_path):
    """Return a bundle that says how many rows it was given: 7 for a clip of 8 frames."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    return write(folder)


@pytest.fixture
def data(tmp_path, clip):
    """Write clips whose number of frames decides the transcripts, with their references."""

    def make(*messages, name="data.jsonl", **more):
        rows = []
        for number, (frames, text) in enumerate(messages):
            clip(f"c{number}.wav", frames)
            rows.append({"audio": f"c{number}.wav", "text": text, **more})
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return make


def numbers(printed):
    return json.loads(printed)["words"]


def test_the_report(cli, bundle, data):
    path = data((8, "7."), (8, "7. b"), (4, "6."), (8, "x 7."), kind="k")
    code, out, err = cli("eval", bundle, path, "--by", "kind", "--jobs", 1)
    assert (code, err) == (0, "")
    head, made, worst = re.split(r"\n\n(?=bundle|c1)", out)
    lines = head.splitlines()
    assert lines[0] == f"fake-asr on {path}, normaliser none@1"
    assert re.match(
        r"words          50\.00 %   WER \[\d+\.\d\d, \d+\.\d\d\]  N 6  S 1  D 2  I 0  H 3$",
        lines[2],
    )
    assert re.match(r"characters     41\.67 %   CER .* N 12  S 1  D 4  I 0  H 7$", lines[3])
    assert lines[4] == "at 0 %          25.0 %   1 of 4 utterances"
    assert lines[5] == "at most 20 %    25.0 %   1 of 4 utterances"
    assert re.match(
        r"speed +\d+\.\d{3}   real-time factor: \d+\.\d s for 0\.0 s of audio, 1 in flight",
        lines[6],
    )
    assert lines[8:] == [
        "kind  utterances   words  errors      WER",
        "k              4       6       3  50.00 %",
    ]
    assert re.match(
        r"bundle      fake-asr, sha256:[0-9a-f]{12}, 0 files, not locked\ntask        default", made
    )
    assert "inputs      line hi" in made
    assert "answer      max_tokens 3, end ." in made
    assert worst == (
        "c1.wav\nref 7. b\nhyp 7. *\n       D\n"
        "\nc2.wav\nref 6.\nhyp 5.\n    S\n"
        "\nc3.wav\nref x 7.\nhyp * 7.\n    D\n"
    )


def test_json(cli, bundle, data):
    path = data((8, "7."), (8, ""), (8, "7. x"))
    found = json.loads(cli("eval", bundle, path, "--json", "--set", "answer.max_tokens=2")[1])
    assert found["words"].items() >= {
        "wer": 2 / 3, "errors": 2, "N": 3, "S": 0, "D": 1, "I": 1, "H": 2,
    }.items()  # fmt: skip
    assert found["utterances"] == {
        "scored": 3, "failed": 0, "left_out": 0, "empty_references": 1, "empty_hypotheses": 0,
        "cut_short": 0, "suspicious": 0, "at_most_0_percent": 1, "at_most_20_percent": 1,
    }  # fmt: skip
    assert found["settings"] == {"answer": {"max_tokens": 2, "end": "."}}
    assert found["normalizer"] == {
        "name": "none",
        "version": "1",
        "source": "the texts as they are",
    }
    assert found["bundle"]["manifest"].startswith("sha256:")
    assert found["interval"]["resamples"] == 10000
    assert found["failed_as_deleted"] is None


def test_a_normaliser_and_hypotheses_without_a_word(cli, bundle, data):
    path = data((8, "7"))
    assert numbers(cli("eval", bundle, path, "--json")[1])["wer"] == 1.0
    assert numbers(cli("eval", bundle, path, "--json", "-n", "release-000")[1])["wer"] == 0.0
    found = json.loads(cli("eval", bundle, path, "--json", "--set", 'answer.end=""')[1])
    assert found["words"]["wer"] == 0.0
    code, out, err = cli("eval", bundle, path, "-n", "whisper")
    assert (code, out) == (2, "")
    assert "there is no normaliser 'whisper'; did you mean 'whisper-en'?" in " ".join(err.split())


def test_what_fails_is_counted_and_never_hidden(cli, bundle, data, tmp_path):
    path = data((8, "7."), (8, "a b c"), (8, "7. d"))
    (tmp_path / "c1.wav").write_bytes(b"no audio")
    code, out, err = cli("eval", bundle, path, "--show", 0)
    assert code == 5
    assert err == "c1.wav: S481 this is not a readable audio file but text\n"
    assert "N 3  S 0  D 1  I 0  H 2" in out
    assert "failed               1   in no rate; as deletions WER 66.67 %" in out
    found = json.loads(cli("eval", bundle, path, "--json")[1])
    assert found["utterances"]["failed"] == 1
    assert found["failed_as_deleted"] == {
        "wer": 4 / 6, "errors": 4, "N": 6, "S": 0, "D": 4, "I": 0, "H": 2,
    }  # fmt: skip


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_clip_whose_text_panics_stops_no_other(cli, bundle, data, tmp_path, monkeypatch, jobs):
    path, out = data((8, "7."), (4, "5."), (12, "9.")), tmp_path / "o"
    panic_at(2, monkeypatch)
    code, _, err = cli("eval", bundle, path, "-o", out, "--jobs", jobs)
    assert code == 5
    assert "R500 ask failed: Panic: range end index 9 out of range\n" in err
    assert "Traceback" not in err
    found = read_results(out / "results.jsonl").transcripts.values()
    assert [each.hypothesis for each in found] == ["7.", None, "9."]


def test_the_clock_counts_the_time_of_what_fails_and_drops_no_lap(cli, bundle, data, tmp_path):
    path, out = data((8, "7."), (8, "7."), (8, "7.")), tmp_path / "o"
    (tmp_path / "c2.wav").write_bytes(b"no audio")
    assert cli("eval", bundle, path, "-o", out)[0] == 5
    times = out / "times.jsonl"
    laps = [json.loads(line) for line in times.read_text().splitlines()]
    assert [lap["audio"] for lap in laps] == [0.001, 0.001, 0.0]
    assert laps[1]["at"] < laps[2]["at"]
    speed = json.loads((out / "report.json").read_text())["speed"]
    assert speed["real_time_factor"] == laps[2]["at"] / 0.002
    times.write_text(times.read_text().replace('"audio": 0.001', '"audio": "long"', 1))
    code, stdout, err = cli("eval", bundle, path, "-o", out)
    assert (code, stdout) == (5, "")
    assert err == (
        f"{times}:1: R571 this is no lap of the clock: Input should be a valid number\n"
        "    hint: delete the line: the time of its clip is then not counted\n"
    )


def test_a_first_and_a_last_clip_that_fail_keep_their_places(cli, bundle, data, tmp_path):
    path = data(*[(2 * n, f"{n}") for n in range(1, 7)])
    for number in (0, 1, 3, 5):
        (tmp_path / f"c{number}.wav").write_bytes(b"no audio")
    assert cli("eval", bundle, path, "-o", tmp_path / "o", "--jobs", 3)[0] == 5
    found = read_results(tmp_path / "o" / "results.jsonl").transcripts
    assert [(each.id, each.hypothesis) for each in found.values()] == [
        ("c0.wav", None), ("c1.wav", None), ("c2.wav", "6."), ("c3.wav", None), ("c4.wav", "8."),
        ("c5.wav", None),
    ]  # fmt: skip


def test_a_reference_without_a_word(cli, bundle, data, tmp_path):
    path = data((8, ""), (8, " "))
    assert cli("eval", bundle, path, "-o", tmp_path / "o") == (
        5, "", f"{path}: R572 no reference has a word after normalization by none@1\n",
    )  # fmt: skip
    assert not (tmp_path / "o").exists()  # refused before a clip is run


def test_results_are_scored_anew_without_running(cli, bundle, data, tmp_path, monkeypatch):
    path, out = data((8, "7"), (8, "7")), tmp_path / "o"
    first = json.loads(cli("eval", bundle, path, "-o", out, "--json")[1])
    results = (out / "results.jsonl").read_bytes()
    monkeypatch.setattr("composer.runtime.bundle.Bundle.load", None)
    code, text, err = cli("eval", bundle, path, "-o", out, "--json", "-n", "release-000")
    assert (code, err) == (0, f"2 of 2 clips are in {out}/results.jsonl already\n")
    again = json.loads(text)
    assert (first["words"]["wer"], again["words"]["wer"]) == (1.0, 0.0)
    assert first["speed"] == again["speed"]
    assert first["data"] == again["data"]
    assert (out / "results.jsonl").read_bytes() == results
    assert json.loads((out / "report.json").read_text()) == again


def test_what_failed_is_tried_again(cli, bundle, data, tmp_path):
    path, out = data((8, "7."), (8, "7."), (8, "7.")), tmp_path / "o"
    good = (tmp_path / "c1.wav").read_bytes()
    (tmp_path / "c1.wav").write_bytes(b"no audio")
    assert cli("eval", bundle, path, "-o", out)[0] == 5
    (tmp_path / "c1.wav").write_bytes(good)
    assert cli("eval", bundle, path, "-o", out)[0] == 0
    assert cli("eval", bundle, path, "-o", tmp_path / "plain")[0] == 0
    assert (out / "results.jsonl").read_bytes() == (tmp_path / "plain/results.jsonl").read_bytes()


def test_other_settings_and_other_data_are_refused(cli, bundle, data, tmp_path):
    path, out = data((8, "7."), (8, "7.")), tmp_path / "o"
    assert cli("eval", bundle, path, "-o", out)[0] == 0
    code, _, err = cli("eval", bundle, path, "-o", out, "--set", "answer.max_tokens=2")
    assert code == 5
    assert "R570" in err
    assert "    settings.answer.max_tokens: 3 there, 2 now\n" in err
    code, _, err = cli("eval", bundle, path, "-o", out, "-i", "line=you")
    assert '    inputs.line: "hi" there, "you" now\n' in err
    bundle.write_text(bundle.read_text() + "# more\n")
    assert "    bundle.manifest: " in cli("eval", bundle, path, "-o", out)[2]
    bundle.write_text(bundle.read_text().removesuffix("# more\n"))
    path.write_text(path.read_text().replace("7.", "8.", 1))
    assert cli("eval", bundle, path, "-o", out)[2] == (
        f"{out}/results.jsonl: R575 these results are of other data\n"
        "    1 of other audio or text: c0.wav\n"
        "    hint: use another folder, or delete these lines\n"
    )


def test_against(cli, bundle, data, tmp_path):
    path = data((8, "7."), (6, "6."), (8, "7. b"), *[(8, "7.")] * 3)
    one, other = tmp_path / "one", tmp_path / "other"
    assert cli("eval", bundle, path, "-o", one, "-i", "line=you")[0] == 0
    theirs = one / "results.jsonl"
    code, out, err = cli("eval", bundle, path, "-o", other, "--against", theirs, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    against = found["against"]
    assert (found["words"]["wer"], against["wer"]) == (1 / 7, 1.0)
    assert against["difference"] == pytest.approx(-6 / 7)
    assert against["high"] < 0
    assert against["p"] == 2 / 2**6  # of all swaps of six clips, two are as far from even
    assert against["made_by"]["inputs"]["line"] == "you"
    assert against["bundle"]["name"] == "fake-asr"
    out = cli("eval", bundle, path, "-o", other, "--against", theirs)[1]
    assert f"against fake-asr in {theirs}: WER 100.00 %\ndifference -85.71 points [" in out
    assert ": they differ\ninputs.line: 'you' there, 'hi' here\n" in out
    out = cli("eval", bundle, path, "--against", other / "results.jsonl")[1]
    assert "difference +0.00 points [+0.00, +0.00], p 1.0000: no difference is shown" in out


def test_a_folder_whose_name_is_no_unicode(cli, bundle, data, tmp_path):
    folder = tmp_path / os.fsdecode(b"f\xff")
    folder.mkdir()
    data((8, "7."))
    for name in ("data.jsonl", "c0.wav"):
        (tmp_path / name).rename(folder / name)
    assert cli("eval", bundle, folder / "data.jsonl", "-o", tmp_path / "o")[0] == 0
    assert "../f%FF/c0.wav" in (tmp_path / "o" / "index.html").read_text()


def test_one_clip_proves_nothing(cli, bundle, data, tmp_path):
    path, theirs = data((8, "7.")), tmp_path / "one" / "results.jsonl"
    assert cli("eval", bundle, path, "-o", tmp_path / "one", "-i", "line=you")[0] == 0
    out = cli("eval", bundle, path, "--against", theirs)[1]
    assert "WER no interval" in out
    assert "difference -100.00 points, p 1.0000: no difference is shown" in out


def test_against_other_utterances(cli, bundle, data, tmp_path, clip):
    path, out = data((8, "7."), (8, "7.")), tmp_path / "o"
    assert cli("eval", bundle, path, "-o", out)[0] == 0
    theirs = out / "results.jsonl"
    message = "the two results are not of the same utterances and cannot be paired"
    head = f"{theirs}: R574 {message}\n"
    hint = "    hint: evaluate both bundles on the same data, without failures\n"
    more = data((8, "7."), (8, "8."), (8, "7."), name="more.jsonl")
    assert cli("eval", bundle, more, "--against", theirs) == (
        5, "", f"{head}    1 only here: c2.wav\n    1 with another reference: c1.wav\n{hint}",
    )  # fmt: skip
    clip("c1.wav", 10)
    code, _, err = cli("eval", bundle, path, "--against", theirs)
    assert (code, err) == (5, f"{head}    1 of other audio: c1.wav\n{hint}")
    (tmp_path / "c1.wav").write_bytes(b"no audio")
    code, _, err = cli("eval", bundle, path, "--against", theirs)
    assert (code, err) == (5, f"{head}    1 failed here or there: c1.wav\n{hint}")


def test_a_field_that_is_not_there(cli, bundle, data):
    code, _, err = cli("eval", bundle, data((8, "7."), kind="k"), "--by", "kid")
    assert code == 2
    assert "no line of the data has a field 'kid'; did you mean 'kind'?" in " ".join(err.split())


def test_the_page(cli, bundle, clip, tmp_path):
    evil = "<script>alert(1)</script>"
    clip("clips/a&b's.wav", 8)
    rows = [{"audio": "a&b's.wav", "text": f"{evil} 7."}]
    path = tmp_path / "clips" / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli("eval", bundle, path, "-o", tmp_path / "o")[0] == 0
    page = (tmp_path / "o" / "index.html").read_text()
    assert page.count("<script") == 1  # the page's own, by its digest
    assert "alert(1)" not in page.partition("<script>")[2]
    assert "default-src 'none'; script-src 'sha256-" in page
    assert '<td class="D">&lt;script&gt;alert(1)&lt;/script&gt;</td><td>7.</td>' in page
    assert 'src="../clips/a%26b%27s.wav"' in page
    assert "<h1>fake-asr, WER 50.00 %</h1>" in page
    assert "http" not in page.replace("http-equiv", "")


SLOW = """
import sys, time
from composer import registry
from composer.cli import main
from tests.fakes import FAKES, Upper
for each in FAKES: registry.register_component(each)
plain = Upper.__call__
def slow(self, text):
    time.sleep(0.05)
    return plain(self, text)
Upper.__call__ = slow
sys.exit(main(sys.argv[1:]))
"""


def test_a_run_that_is_killed_goes_on(cli, data, tmp_path):
    """Kill -9 in the middle, and a second run: the file is what an undisturbed run writes."""
    folder = tmp_path / "slow"
    folder.mkdir()
    bundle = write(
        folder, BUNDLE,
        ("  echo: {use: fake.echo}\n", "  echo: {use: fake.echo}\n  upper: {use: fake.upper}\n"),
        ("outputs: {text: $answer.text}",
         "  loud: {run: upper, with: {text: $answer.text}}\noutputs: {text: $loud}"),
    )  # fmt: skip
    path = data(*[(2 * n, f"{n + 3}.") for n in range(1, 41)])
    assert cli("eval", bundle, path, "-o", tmp_path / "plain")[0] == 0
    plain = (tmp_path / "plain" / "results.jsonl").read_bytes()
    assert plain.count(b"\n") == 41
    results = tmp_path / "killed" / "results.jsonl"
    call = ["eval", bundle, path, "-o", tmp_path / "killed", "--jobs", "2"]
    running = subprocess.Popen(
        [sys.executable, "-c", SLOW, *map(str, call)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 120
    while running.poll() is None and time.monotonic() < end:
        if results.exists() and results.read_bytes().count(b"\n") > 5:
            break
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    left = results.read_bytes()
    assert 5 < left.count(b"\n") < 41
    assert plain.startswith(left[: left.rfind(b"\n") + 1])
    code, _, err = cli(*call)
    assert code == 0
    assert f"of 40 clips are in {results} already" in err
    assert results.read_bytes() == plain
    found = json.loads((tmp_path / "killed" / "report.json").read_text())
    assert found["speed"]["sessions"] == 2
    assert found["speed"]["audio_seconds"] == pytest.approx(sum(range(2, 82, 2)) / 8000, abs=0.01)


def test_a_duration_that_is_another_now_is_other_data(cli, bundle, data, tmp_path):
    """The transcript of a file of another length is not that of this row."""
    path, out = data((8, "7."), duration=0.001), tmp_path / "out"
    assert cli("eval", bundle, path, "-o", out)[0] == 0
    path.write_text(path.read_text().replace("0.001", "9.5"))
    code, _, err = cli("eval", bundle, path, "-o", out)
    assert code == 5
    assert "R575 these results are of other data" in err


def test_a_part_with_another_duration_is_another_clip(cli, bundle, data, tmp_path):
    path, out = data((8000, "7."), offset=0.2, duration=0.1), tmp_path / "out"
    assert cli("eval", bundle, path, "-o", out)[0] == 0
    path.write_text(path.read_text().replace('"duration": 0.1', '"duration": 0.3'))
    code, _, err = cli("eval", bundle, path, "-o", out)
    assert code == 5
    assert "no longer in it: c0.wav#0.2+0.1" in err


def test_a_report_that_no_evaluation_wrote_stays(cli, bundle, data, tmp_path):
    path, out = data((8, "7.")), tmp_path / "out"
    out.mkdir()
    mine = out / "report.json"
    mine.write_text("mine")
    code, _, err = cli("eval", bundle, path, "-o", out)
    assert (code, mine.read_text()) == (5, "mine")
    assert f"{mine}: R507 there is a file already" in err
    assert cli("eval", bundle, path, "-o", out, "--force")[0] == 0
    assert cli("eval", bundle, path, "-o", out)[0] == 0  # its own, by then


def test_a_disk_that_fills_up_is_one_error(cli, bundle, data, tmp_path):
    """The limit of a file's size stands in for the disk's; no empty file is left."""
    import resource

    path, out = data((8, "7."), (4, "5.")), tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for most in (10, 1500):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
        try:
            code, _, err = cli("eval", bundle, path, "-o", out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert code == 5
        assert err.count("R507 cannot write: File too large") == 1
        assert "Traceback" not in err
        assert all(found.stat().st_size for found in out.iterdir())
    signal.signal(signal.SIGXFSZ, before)
    assert cli("eval", bundle, path, "-o", out)[0] == 0


def test_an_evaluation_takes_the_channel_that_the_bundle_says(cli, tmp_path, data):
    change = ("  audio: audio\n", "  audio: {type: audio, channel: left}\n")
    folder = tmp_path / "left"
    folder.mkdir()
    path = data((8, "7."))
    left = np.tile([0.5, -0.3], 4)
    two = np.stack([left, -left], 1)
    soundfile.write(tmp_path / "c0.wav", two, 8000)
    assert "S488" in cli("eval", write(tmp_path), path)[2]
    assert cli("eval", write(folder, BUNDLE, change), path)[0] == 0


@pytest.mark.parametrize(
    ("channel", "text"), [("left", "7."), ("right", "7."), ("each", "7. 7."), ("mix", None)]
)
def test_a_channel_is_chosen_and_named(cli, bundle, tmp_path, data, channel, text):
    """One channel is the other's inverse, so that the mix is refused."""
    path, out = data((8, "7.")), tmp_path / "out"
    left = np.tile([0.5, -0.3], 4)
    two = np.stack([left, -left], 1)
    soundfile.write(tmp_path / "c0.wav", two, 8000)
    code, shown, err = cli("eval", bundle, path, "--channel", channel, "-o", out)
    found = read_results(out / "results.jsonl")
    (each,) = found.transcripts.values()
    assert found.made_by["audio"] == {"channel": channel, "partial": False}
    assert f"audio       channel {channel}, partial false" in shown
    if text is None:
        assert (code, each.error[0]["code"]) == (5, "S488")
        return
    assert (code, each.hypothesis.split()) == (0, text.split())
    noted = [f"the {channel} channel of 2"] if channel != "each" else None
    assert (each.notes, err) == (noted, f"c0.wav: {noted[0]}\n" if noted else "")
    report = json.loads((out / "report.json").read_text())
    assert report["audio"] == {"channel": channel, "partial": False}


def test_results_of_another_channel_are_neither_resumed_nor_compared_silently(
    cli, bundle, tmp_path, data
):
    path, out = data((8, "7.")), tmp_path / "out"
    assert cli("eval", bundle, path, "-o", out, "--channel", "left")[0] == 0
    code, _, err = cli("eval", bundle, path, "-o", out, "--channel", "right")
    assert (code, '    audio.channel: "left" there, "right" now' in err.splitlines()) == (5, True)
    shown = cli("eval", bundle, path, "--channel", "right", "--against", out / "results.jsonl")[1]
    assert "audio.channel: 'left' there, 'right' here" in shown.splitlines()
    assert cli("eval", bundle, path, "--channel", "middle")[0] == 2


def test_a_recording_that_was_cut_short_is_read_by_an_option(cli, bundle, tmp_path, data):
    path, out = data((40, "7.")), tmp_path / "out"
    whole = (tmp_path / "c0.wav").read_bytes()
    (tmp_path / "c0.wav").write_bytes(whole[:-64])
    assert "S483" in cli("eval", bundle, path)[2]
    code, _, err = cli("eval", bundle, path, "--partial", "-o", out)
    (each,) = read_results(out / "results.jsonl").transcripts.values()
    assert (code, each.hypothesis) == (0, "7.")
    assert err == f"c0.wav: {each.notes[0]}\n"
    assert each.notes[0].startswith("read as far as it goes, 0.00 s: the WAV file is truncated")

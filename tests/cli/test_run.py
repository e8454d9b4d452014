"""`composer run`: outputs, streams, settings and exit codes."""

import io
import json
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from composer import load
from composer.cli.results import truncation_warning
from composer.jobs.cut_short import cut_short
from tests.fakes import BUNDLE, write

pytestmark = pytest.mark.usefixtures("fakes")


def test_one_text_is_printed_alone(cli, bundle, clip):
    assert cli("run", bundle, "-i", f"audio={clip()}") == (0, "7.\n", "")
    assert cli("run", bundle, "-i", f"audio={clip()}", "-i", "line=x=y")[1] == "8.\n"


def test_several_outputs_are_named(cli, tmp_path, clip):
    outputs = "outputs: {ids: $answer.ids, text: $answer.text, why: $answer.finish_reason}"
    path = write(tmp_path, BUNDLE, ("outputs: {text: $answer.text}", outputs))
    assert cli("run", path, "-i", f"audio={clip()}") == (
        0,
        "text: 7.\nwhy: stop\nids: int64 [2]; --json prints the numbers\n",
        "",
    )


def test_json(cli, bundle, clip):
    code, out, err = cli("run", bundle, "-i", f"audio={clip()}", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert list(found.pop("timings")) == ["mel", "soft", "asked", "words", "embeds", "answer"]
    assert found == {
        "bundle": "fake-asr",
        "outputs": {"text": "7."},
        "finish_reason": "stop",
        "tokens": 2,
        "notes": [],
    }


def test_json_of_what_fails(cli, bundle, clip, tmp_path):
    """One object on stdout, and the exit code as without --json."""
    loud = tmp_path / "loud.safetensors"
    save_file({"mel": np.full((4, 2), 1e9, np.float32)}, loud)
    call = ["run", bundle, "-i", f"audio={clip()}"]
    no_file = tmp_path / "no" / "taps.safetensors"
    (tmp_path / "refused").mkdir()
    error_text = write(tmp_path / "refused", BUNDLE, ("$asked.slots", "$slot"))
    for arguments, name, problem in (
        ([*call, "--feed", loud], "fake-asr", "R500"),
        (["run", bundle, "-i", f"audio={tmp_path}/none.wav"], "fake-asr", "S480"),
        ([*call, "--taps", no_file], "fake-asr", "R507"),
        ([*call, "--set", "answer.max_token=1"], "fake-asr", "R544"),
        ([*call, "--task", "chat"], "fake-asr", "R543"),
        ([*call, "--variant", "no"], str(bundle), "M132"),
        (["run", "no-such"], "no-such", "S474"),
        (["run", error_text], "fake-asr", "W206"),
    ):
        code, out, err = cli(*arguments, "--json")
        found = json.loads(out)
        assert (code, err) == (cli(*arguments)[0], "")
        assert code != 0
        assert list(found) == ["bundle", "ok", "problems"]
        assert (found["bundle"], found["ok"]) == (name, False)
        assert [each["code"] for each in found["problems"]] == [problem]
        assert set(found["problems"][0]) == {
            "code", "severity", "message", "file", "line", "column", "causes", "hint",
        }  # fmt: skip


def test_stream(cli, bundle, clip):
    assert cli("run", bundle, "-i", f"audio={clip()}", "--stream") == (0, "7.\n", "")


def test_a_stream_that_is_not_the_output_is_followed_by_it(cli, tmp_path, clip):
    path = write(
        tmp_path,
        BUNDLE,
        ("  echo: {", "  upper: {use: fake.upper}\n  echo: {"),
        ("{embeds: $embeds}}", "{embeds: $embeds, end: x}}\n"
         "  loud: {run: upper, with: {text: $answer.text}}"),
        ("$answer.text}", "$loud}"),
    )  # fmt: skip
    text = path.read_text().replace("text: $loud}}\noutputs", "text: $answer.text}}\noutputs")
    path.write_text(text.replace("outputs: {text: $answer.text}", "outputs: {text: $loud}"))
    assert cli("run", path, "-i", f"audio={clip()}", "--stream")[1] == "7x\ntext: 7X\n"


def test_stream_and_json_exclude_each_other(cli, bundle):
    code, out, err = cli("run", bundle, "--stream", "--json")
    assert (code, out) == (2, "")
    assert "choose one" in err


def test_an_answer_that_was_cut_is_reported(cli, bundle, clip):
    code, out, err = cli("run", bundle, "-i", f"audio={clip()}", "--set", "answer.max_tokens=1")
    assert (code, out) == (0, "7\n")
    assert err == (
        "warning: the answer was cut after 1 token; allow more by --set answer.max_tokens=2\n"
    )


def test_the_limit_that_the_manifest_sets_is_reported(cli, tmp_path, clip):
    path = write(tmp_path, BUNDLE, ("{embeds: $embeds}}", "{embeds: $embeds, max_tokens: 1}}"))
    path = write(tmp_path, path.read_text().replace("answer", "said_back"))
    assert cli("run", path, "-i", f"audio={clip()}")[2].endswith(
        "after 1 token; allow more by --set said_back.max_tokens=2\n"
    )


def test_an_answer_that_the_model_itself_cut_is_reported(bundle, clip):
    """What ends before max_tokens ended for want of positions, and no option helps."""
    with load(bundle) as loaded:
        result = replace(loaded.run(audio=str(clip())), finish_reason="length")
        graph = loaded.checked.graphs["default"]
    assert truncation_warning(cut_short(result, graph, {}), "a.wav") == (
        "a.wav: warning: the answer was cut after 2 tokens, the last that the model has positions "
        "for; give it less at once"
    )
    assert "--set answer.max_tokens=4" in truncation_warning(
        cut_short(result, graph, {"answer": {"max_tokens": 2}})
    )


def test_settings_are_checked(cli, bundle, clip):
    call = ["run", bundle, "-i", f"audio={clip()}"]
    wrong = ["anwser.max_tokens=1", "answer.max_token=1", "answer.max_tokens=lots", "answer=3"]
    code, out, err = cli(*call, *(part for text in wrong for part in ("--set", text)))
    assert (code, out) == (2, "")
    assert err == (
        "R544 cannot set anwser.max_tokens: no node 'anwser'\n"
        "    hint: did you mean 'answer'?\n"
        "R544 cannot set answer.max_token: answer (echo.generate) has no option 'max_token'\n"
        "    hint: did you mean 'max_tokens'?\n"
        "R542 'answer': option 'max_tokens' should be a whole number, not 'lots'\n"
        "R544 cannot set answer: answer (echo.generate) has no option named\n"
        "    hint: there are: max_tokens, end\n"
    )
    assert cli(*call, "--set", "answer.end=5")[1] == "75\n"
    assert cli(*call, "--set", "answer.end=5", "--set", "answer.end=6")[0] == 2


def test_wrong_inputs_are_a_wrong_call(cli, bundle):
    code, out, err = cli("run", bundle, "-i", "adio=x.wav")
    assert (code, out) == (2, "")
    assert "R540 the bundle has no input 'adio'" in err
    assert "R541 input 'audio' (audio) is not given" in err
    assert cli("run", bundle, "-i", "audio")[0] == 2


def test_audio_that_cannot_be_read(cli, bundle, tmp_path):
    code, out, err = cli("run", bundle, "-i", f"audio={tmp_path}/none.wav")
    assert (code, out) == (5, "")
    assert err.startswith(f"{tmp_path}/none.wav: S480 ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-i", "audio=missing.wav"], 5, "missing.wav: S480 "),
        (["-i", "audio=."], 5, "S480 the audio is a folder"),
        (["-i", "audio={bundle}"], 5, "S481 "),
        (["-i", "audio={clip}", "--variant", "no"], 3, "M132 there is no variant 'no'"),
        (["-i", "audio={clip}", "--source", "no=."], 3, "S475 a folder is given for 'no'"),
        (["-i", "audio={clip}", "--profile", "no.yaml"], 3, "no.yaml"),
        (["-i", "audio={clip}", "--precision", "no=float16"], 3, "W219"),
        (["-i", "audio={clip}", "--task", "no"], 2, "R543"),
        (["-i", "audio={clip}", "--taps", "no/taps.safetensors"], 5, "R507"),
        (["--sauce", "no=."], 2, "No such option: --sauce"),
        ([], 2, "R541"),
    ],
)
def test_exit_codes(cli, bundle, clip, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    filled = [each.format(bundle=bundle, clip=clip()) for each in arguments]
    found, out, err = cli("run", bundle, *filled)
    assert (found, out) == (code, "")
    assert message in err


def test_audio_from_stdin(cli, bundle, clip, monkeypatch):
    data = clip().read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert cli("run", bundle, "-i", "audio=-")[1] == "7.\n"


def test_a_pipe_is_no_audio_file(cli, bundle, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert cli("run", bundle, "-i", f"audio={pipe}") == (
        2,
        "",
        f"R542 'audio' needs a file, and {pipe} is a pipe or device\n"
        "    hint: -i audio=- reads standard input\n",
    )


def test_a_run_that_fails(cli, bundle, clip, tmp_path):
    save_file({"mel": np.full((4, 2), 1e9, np.float32)}, tmp_path / "loud.safetensors")
    code, out, err = cli(
        "run", bundle, "-i", f"audio={clip()}", "--feed", tmp_path / "loud.safetensors"
    )
    assert (code, out) == (5, "")
    assert "R500 widen failed: ZeroDivisionError: too loud" in err
    assert "Traceback" not in err


def test_a_bundle_that_is_refused(cli, tmp_path):
    path = write(tmp_path, BUNDLE, ("$asked.slots", "$asked.slot"))
    code, out, err = cli("run", path)
    assert (code, out) == (3, "")
    assert "W207" in err


def test_a_precision_and_a_placement(cli, bundle, clip):
    call = ["run", bundle, "-i", f"audio={clip()}"]
    assert cli(*call, "--precision", "echo=float16")[:2] == (0, "7.\n")
    assert cli(*call, "--threads", "1") == (
        2,
        "",
        "R546 nothing in fake-asr can be placed by 'threads'\n"
        "    hint: leave it out for this bundle\n",
    )
    assert cli(*call, "--precision", "echo=int3")[0] == 2
    assert cli(*call, "--device", "tpu")[0] == 2
    code, _, err = cli(*call, "--precision", "eco=float16")
    assert code == 3
    assert "W219" in err


def test_a_profile(cli, bundle, clip, tmp_path):
    profile = tmp_path / "p.yaml"
    profile.write_text("memory_gb: 0.0000001\n")
    code, _, err = cli("run", bundle, "-i", f"audio={clip()}", "--profile", profile)
    assert code == 5
    assert "R505" in err
    profile.write_text("threds: 2\n")
    code, _, err = cli("run", bundle, "-i", f"audio={clip()}", "--profile", profile)
    assert code == 3
    assert f"{profile}:1:1: M121" in err


def test_taps_that_cannot_be_written(cli, bundle, clip, tmp_path):
    target = tmp_path / "no" / "taps.safetensors"
    code, out, err = cli("run", bundle, "-i", f"audio={clip()}", "--taps", target)
    assert (code, out) == (5, "")
    assert err == f"{target}: R507 cannot write: No such file or directory\n"


@pytest.mark.parametrize("command", ["run", "transcribe", "tap", "eval", "pull"])
def test_a_bundle_whose_files_are_not_here(cli, tmp_path, clip, command, monkeypatch):
    """Its ports are unknown, so that nothing can be planned either."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    audio = clip()
    (tmp_path / "data.jsonl").write_text('{"audio_filepath": "clip.wav", "text": "a"}\n')
    given = {
        "run": ("-i", f"audio={audio}"),
        "transcribe": (audio,),
        "tap": ("-i", f"audio={audio}", "-o", tmp_path / "ref.safetensors"),
        "eval": (tmp_path / "data.jsonl",),
        "pull": (),
    }[command]
    code, out, err = cli(command, "mega-asr", *given)
    assert (code, out) == (3, "")
    assert "S473 encoder needs repo/onnx/audio_encoder_fp32.onnx, and its source is not" in err


def test_numbers_that_overflow_are_an_error_with_the_nodes_name(cli, bundle, clip, tmp_path):
    """Here they came in so; a product that overflows is counted alike."""
    loud = tmp_path / "loud.safetensors"
    save_file({"mel": np.full((4, 2), np.nan, np.float32)}, loud)
    code, out, err = cli("run", bundle, "-i", f"audio={clip()}", "--feed", loud)
    assert (code, out) == (5, "")
    assert "numbers that are NaN or infinite" in err
    assert "already in its inputs: $mel" in err
    assert "at node 'soft'" in err

"""The shipped miniature, from the command line to the words."""

import json
from difflib import SequenceMatcher

import numpy as np
import pytest
from safetensors import safe_open

from composer.sources.shipped import shipped_folder

MINI = shipped_folder("bundles") / "mega-asr-mini"
CLIPS = sorted((MINI / "clips").glob("*.flac"))[:2]


@pytest.fixture(scope="module")
def messages():
    lines = (MINI / "clips" / "references.jsonl").read_text("utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return {entry.get("audio") or entry["audio_filepath"]: entry["text"] for entry in entries}


def test_check_plan_and_show(cli):
    code, out, _ = cli("check", "mega-asr-mini")
    assert (code, out.splitlines()[0]) == (0, "mega-asr-mini: ok, 7 nodes, 1 task")
    code, out, err = cli("plan", "mega-asr-mini", "--variant", "mlx")
    assert (code, err) == (0, "")
    assert "cast  $soft -> embeds.values: f32 in numpy -> f32 in mlx" in out
    assert "unknown" not in cli("show", "mega-asr-mini")[1]


def test_options_place_the_parts_that_read_them(cli):
    options = ["--threads", "1", "--provider", "CPUExecutionProvider", "--device", "cpu"]
    options += ["--variant", "mlx"]
    code, out, err = cli("plan", "mega-asr-mini", *options)
    assert (code, err) == (0, "")
    parts = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ")}
    assert parts["encoder"].endswith("  numpy, 1 thread, CPUExecutionProvider")
    assert parts["decoder"].endswith("  mlx, device cpu")
    assert parts["features"].endswith("  numpy")
    call = ["transcribe", "mega-asr-mini", CLIPS[0]]
    assert cli(*call, *options) == cli(*call)


def test_transcribe(cli, messages, tmp_path):
    code, out, err = cli("transcribe", "mega-asr-mini", *CLIPS)
    assert (code, err) == (0, "")
    texts = out.splitlines()
    assert len(texts) == len(CLIPS)
    for clip, line in zip(CLIPS, texts, strict=True):
        name, text = line.split(": ", 1)
        assert name == str(clip)
        # The miniature may mishear a word, and no more.
        assert SequenceMatcher(None, text.split(), messages[clip.name].split()).ratio() > 0.85


def test_run_streams_the_same_words(cli):
    call = ["run", "mega-asr-mini", "-i", f"audio={CLIPS[0]}"]
    found = json.loads(cli(*call, "--json")[1])
    assert found["finish_reason"] == "stop"
    assert list(found["outputs"]) == ["text", "language"]
    assert cli(*call, "--stream")[1].splitlines()[0] == found["outputs"]["text"]


def test_soft_embeddings_can_be_kept_and_fed(cli, tmp_path):
    kept, again = tmp_path / "kept.safetensors", tmp_path / "again.safetensors"
    code, out, _ = cli("run", "mega-asr-mini", "-i", f"audio={CLIPS[0]}", "--taps", kept)
    assert code == 0
    assert cli("run", "mega-asr-mini", "--feed", kept, "--taps", again) == (0, out, "")
    with safe_open(kept, "np") as one, safe_open(again, "np") as other:
        for name in ("soft", "asked.ids", "answer.ids"):
            np.testing.assert_array_equal(one.get_tensor(name), other.get_tensor(name))


def test_new_makes_a_bundle_that_runs_alone(cli, tmp_path):
    assert cli("new", tmp_path / "mine")[0] == 0
    assert cli("check", tmp_path / "mine")[0] == 0
    call = ["-i", f"audio={CLIPS[0]}"]
    assert cli("run", tmp_path / "mine", *call) == cli("run", "mega-asr-mini", *call)


def test_options_that_contradict_each_other_are_refused_before_anything_runs(cli):
    call = ["run", "mega-asr-mini", "-i", f"audio={CLIPS[0]}", "--set", "answer.top_k=3"]
    assert cli(*call) == (
        2,
        "",
        "R542 'answer': top_k 3 has no effect at temperature 0, which is greedy\n",
    )


def test_a_wrong_language_is_reported_before_anything_runs(cli):
    call = ["run", "mega-asr-mini", "-i", f"audio={CLIPS[0]}", "-i", "language=english"]
    code, out, err = cli(*call)
    assert (code, out) == (5, "")
    assert err.endswith(
        "R527 'english' is not a language of this model\n    hint: did you mean 'English'?\n"
    )
    assert "given text" not in err


def test_a_list_of_an_option_is_json(cli):
    clip = MINI.parent / "elderwise-mini" / "clips" / "questions-08.flac"
    given = ("run", "elderwise-mini", "--task", "transcribe", "-i", f"audio={clip}", "--set")
    assert cli(*given, "answer.adapters=[speech]") == (
        2,
        "",
        "R542 'answer': option 'adapters' should be a list, not '[speech]'\n"
        "    hint: write it as JSON: --set 'answer.adapters=[\"...\"]'\n",
    )
    on, off = (cli(*given, f"answer.adapters={names}")[1] for names in ('["speech"]', "[]"))
    assert on == "could i have a map and salad please\n"
    assert off != on


def test_a_plan_says_which_backend_was_chosen_and_why(cli):
    code, out, _ = cli("plan", "mega-asr-mini")
    assert code == 0
    assert (
        "onnx, chosen: ONNX Runtime is the fastest here on a CPU" in out or "mlx, chosen: " in out
    )


def test_a_backend_is_asked_for_by_a_flag(cli):
    for flag in ("mlx", "decoder=mlx"):
        code, out, _ = cli("plan", "mega-asr-mini", "--backend", flag)
        assert code == 0
        assert "mlx.lm" in out
        assert "mlx, chosen: asked for" in out
    call = ["transcribe", "mega-asr-mini", CLIPS[0]]
    assert cli(*call, "--backend", "mlx") == cli(*call, "--backend", "decoder=onnx")
    code, _, err = cli(*call, "--backend", "cuda")
    assert code == 2
    assert "--backend takes mlx, numpy, onnx, not 'cuda'" in " ".join(err.split())
    code, _, err = cli(*call, "--backend", "decoder=numpy")
    assert code == 3
    assert "W226 lm has no kind for the backend 'numpy'" in err

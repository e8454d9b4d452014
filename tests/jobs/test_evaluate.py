"""Evaluating through Python alone, with the miniature."""

import json
import shutil

import pytest

import composer
from composer.evaluation.journal import read_results


@pytest.fixture
def data(tmp_path, clips):
    """Write two clips with their texts, and a field to group them by."""
    rows = []
    for number, (clip, text) in enumerate(clips.items()):
        shutil.copy(clip, tmp_path / f"c{number}.flac")
        rows.append({"audio": f"c{number}.flac", "text": text, "kind": f"k{number}"})
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rates_are_those_of_the_transcripts(mini, data, clips):
    seen, steps = [], []
    found = composer.evaluate(
        mini, data, normalizer="whisper-en", on_transcript=seen.append, progress=steps.append
    )
    assert isinstance(found, composer.Evaluation)
    assert [each.hypothesis for each in seen] == [
        each.text for each in composer.transcribe(mini, clips)
    ]
    assert found.words.rate == found.words.errors / found.words.total
    assert 0 <= found.words.rate < 0.2  # the miniature may mishear a word, and no more
    assert found.speed.audio == pytest.approx(
        sum(composer.read_audio(clip).seconds for clip in clips), abs=1e-3
    )
    assert found.made_by["bundle"]["name"] == "mega-asr-mini"
    assert [(step.stage, step.done, step.total) for step in steps] == [
        ("loading", 0, None),
        *(("evaluating", done, 2) for done in range(3)),
    ]


def test_wrong_texts_are_errors(mini, data):
    right = composer.evaluate(mini, data).words
    data.write_text(data.read_text().replace('"text": "', '"text": "entirely '))
    wrong = composer.evaluate(mini, data).words
    assert (wrong.errors, wrong.total) == (right.errors + 2, right.total + 2)


def test_a_folder_keeps_what_was_run(mini, data, tmp_path):
    folder, seen, steps = tmp_path / "out", [], []
    first = composer.evaluate(mini, data, folder=folder, by=["kind"])
    assert {path.name for path in folder.iterdir()} == {
        "results.jsonl",
        "times.jsonl",
        "report.json",
        "index.html",
    }
    assert list(read_results(folder / "results.jsonl").transcripts) == ["c0.flac", "c1.flac"]
    assert json.loads((folder / "report.json").read_text())["words"]["wer"] == first.words.rate
    again = composer.evaluate(
        mini, data, folder=folder, on_transcript=seen.append, progress=steps.append
    )
    assert (again.words, seen) == (first.words, [])
    assert steps == [composer.JobProgress("resuming", str(folder / "results.jsonl"), 2, 2)]


def test_two_evaluations_are_compared_clip_by_clip(mini, data, tmp_path):
    composer.evaluate(mini, data, folder=tmp_path / "out")
    found = composer.evaluate(mini, data, against=tmp_path / "out" / "results.jsonl")
    assert found.against.wer == found.words.rate
    assert found.against.words.difference == 0


def test_a_clip_that_fails_is_in_no_rate(mini, data):
    (data.parent / "c0.flac").write_bytes(b"no audio")
    found = composer.evaluate(mini, data)
    assert [(each.id, each.error[0]["code"]) for each in found.failed] == [("c0.flac", "S481")]
    assert [each.clip.id for each in found.scored] == ["c1.flac"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"normalizer": "whisper"}, "R544 there is no normaliser 'whisper'; did you mean"),
        ({"by": ["kid"]}, "R544 no line of the data has a field 'kid'; did you mean 'kind'?"),
        ({"inputs": {"audio": "x.wav"}}, "R540 'audio' is each clip in turn"),
        ({"options": {"answer": {"top": 3}}}, "R544 cannot set on 'answer' the option 'top'"),
        ({"task": "chat"}, "R543 the bundle has no task 'chat'"),
    ],
)
def test_a_wrong_call_runs_nothing(mini, data, given, problem):
    steps = []
    with pytest.raises(composer.ComposerError) as caught:
        composer.evaluate(mini, data, progress=steps.append, **given)
    assert str(caught.value).startswith(problem)
    assert caught.value.exit_code == 2
    assert steps == []


def test_other_settings_do_not_share_a_folder(mini, data, tmp_path):
    composer.evaluate(mini, data, folder=tmp_path / "out")
    with pytest.raises(composer.ComposerError, match="R570"):
        composer.evaluate(
            mini, data, folder=tmp_path / "out", options={"answer": {"max_tokens": 9}}
        )


def test_data_that_is_not_there(mini, tmp_path):
    with pytest.raises(composer.ComposerError, match="R580"):
        composer.evaluate(mini, tmp_path / "none.jsonl")

"""Transcribing through Python alone, with the miniature."""

import json
import shutil
from difflib import SequenceMatcher
from pathlib import Path

import pytest

import composer


def test_clips_become_texts_in_their_order(mini, clips):
    found = composer.transcribe(mini, clips)
    assert [each.clip for each in found] == list(clips)
    for each in found:
        assert isinstance(each, composer.Transcription)
        assert each.ok
        # The miniature may mishear a word, and no more.
        assert SequenceMatcher(None, each.text.split(), clips[each.clip].split()).ratio() > 0.85
        assert (each.text, each.outputs["language"]) == (each.outputs["text"], "English")
        assert each.finish_reason == "stop"
        assert each.tokens > 3
        assert each.seconds > 0
        assert each.cut_short is None


def test_it_is_what_the_bundle_gives(mini, clips):
    clip = next(iter(clips))
    (found,) = composer.transcribe(mini, [composer.read_audio(clip)])
    result = mini.run(audio=clip)
    assert (found.text, found.tokens) == (result.text, result.tokens)


def test_a_name_is_opened_and_closed(clips):
    (found,) = composer.transcribe("mega-asr-mini", list(clips)[:1])
    assert found.ok
    options = composer.BundleOptions("mega-asr-mini", variant="mlx")
    assert composer.transcribe(options, list(clips)[:1])[0].text == found.text


def test_progress_and_each_transcription_are_reported(mini, clips):
    steps, seen = [], []
    found = composer.transcribe(
        mini, clips, on_transcription=seen.append, progress=steps.append, in_flight=1
    )
    assert tuple(seen) == found
    assert steps == [
        composer.JobProgress("fetching", "mega-asr-mini"),
        composer.JobProgress("loading", "mega-asr-mini"),
        *(composer.JobProgress("transcribing", "mega-asr-mini", done, 2) for done in range(3)),
    ]


def test_a_clip_that_fails_stops_no_other(mini, clips, tmp_path):
    _, second = clips
    bad, good = composer.transcribe(mini, [tmp_path / "none.wav", second])
    assert not bad.ok
    assert (bad.text, bad.outputs) == (None, {})
    assert [problem.code for problem in bad.problems] == ["S480"]
    assert good.ok


def test_a_text_that_was_cut_says_where(mini, clips):
    (found,) = composer.transcribe(mini, list(clips)[:1], options={"answer": {"max_tokens": 2}})
    assert (found.finish_reason, found.tokens) == ("length", 2)
    assert found.cut_short == composer.CutShort("answer", 2, 2)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"task": "chat"}, "R543 the bundle has no task 'chat'"),
        ({"inputs": {"sad": "x"}}, "R540 the bundle has no input 'sad'"),
        ({"inputs": {"audio": "x.wav"}}, "R540 'audio' is each clip in turn"),
        ({"inputs": {"language": 3}}, "R542 'language' needs text, not int"),
        ({"options": {"answr": {}}}, "R544 cannot set options of 'answr'"),
        ({"options": {"answer": {"max_tokens": "two"}}}, "R542 'answer': option 'max_tokens'"),
    ],
)
def test_a_wrong_call_runs_nothing(mini, clips, given, problem):
    steps = []
    with pytest.raises(composer.ComposerError) as caught:
        composer.transcribe(mini, clips, progress=steps.append, **given)
    assert str(caught.value).startswith(problem)
    assert caught.value.exit_code == 2
    assert steps == []


def test_a_task_that_takes_no_audio():
    with pytest.raises(composer.ComposerError, match="R543 task 'chat' takes no audio"):
        composer.transcribe("elderwise-mini", ["x.wav"], task="chat")


def test_a_bundle_that_is_not_there():
    with pytest.raises(composer.ComposerError, match="S474"):
        composer.transcribe("mega-asr-min", [])


def test_a_folder_keeps_each_line_and_resumes(mini, clips, tmp_path):
    first, second = clips
    (one,) = composer.transcribe(mini, [first], folder=tmp_path)
    lines = tmp_path / "transcripts.jsonl"
    (entry,) = map(json.loads, lines.read_text("utf-8").splitlines())
    assert (entry["audio"], entry["text"]) == (first, one.text)
    with pytest.raises(composer.ComposerError, match="R507"):
        composer.transcribe(mini, [first], folder=tmp_path)
    (two,) = composer.transcribe(mini, clips, folder=tmp_path, resume=True)
    assert two.clip == second
    entries = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
    assert [entry["audio"] for entry in entries] == [first, second]
    composer.transcribe(mini, [second], folder=tmp_path, force=True)
    assert len(lines.read_text("utf-8").splitlines()) == 1


def test_a_folder_has_a_file_for_each_clip(mini, clips, tmp_path):
    clip = Path(next(iter(clips)))
    (found,) = composer.transcribe(mini, [clip.read_bytes()], folder=tmp_path, format="txt")
    assert (tmp_path / "stdin.txt").read_text("utf-8") == f"{found.text}\n"
    with pytest.raises(composer.ComposerError, match=r"R542 .* would both be written to"):
        composer.transcribe(mini, [clip, tmp_path / clip.name], folder=tmp_path, format="txt")
    with pytest.raises(composer.ComposerError, match="R544 there is no output format 'srtt'"):
        composer.transcribe(mini, [clip], folder=tmp_path, format="srtt")


def test_a_folder_of_clips_stands_for_its_clips(mini, clips, tmp_path):
    with pytest.raises(composer.ComposerError, match="R542 no clip is in the folder"):
        composer.transcribe(mini, [tmp_path])
    shutil.copy(next(iter(clips)), tmp_path / "a.flac")
    (found,) = composer.transcribe(mini, [tmp_path])
    assert (found.clip, found.ok) == (str(tmp_path / "a.flac"), True)

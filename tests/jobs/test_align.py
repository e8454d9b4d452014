"""Words with their times: of a text in a clip, and of what a bundle transcribes."""

import json
from itertools import pairwise

import numpy as np
import pytest
import soundfile

import composer
from composer.cli import main
from composer.core.errors import ComposerError
from composer.jobs.words import Word, plain_words, timed_words, with_logprobs
from composer.sources.shipped import shipped_folder
from tests.fakes import BUNDLE, write
from tests.reference.forced_aligner import Aligner, release
from tests.reference.qwen3_asr import RATE, make_clip

MINI = shipped_folder("bundles") / "mega-asr-mini"
pytestmark = pytest.mark.usefixtures("fakes")
TEXT = "He said: the names!"


@pytest.fixture(scope="module")
def aligner(one_thread, tmp_path_factory):
    """Return the folder of an aligner with random weights, whose times end at 4 s."""
    return release(tmp_path_factory.mktemp("aligner") / "release", Aligner())


@pytest.fixture(scope="module")
def opened(aligner):
    with composer.load(aligner) as bundle:
        yield bundle


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, make_clip(3.375), RATE, subtype="FLOAT")
    return path


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    split = ("  audio: audio\n", "  audio: {type: audio, split: {seconds: 1}}\n")
    return write(folder, BUNDLE, split)


def sound(words, duration):
    """Words follow one another within the clip."""
    assert all(0 <= word.start <= word.end <= duration for word in words)
    assert all(before.start <= after.start for before, after in pairwise(words))


def test_each_word_has_its_times_and_where_they_come_from(opened, clip):
    found = composer.align(opened, clip, TEXT, language="en")
    assert [word.text for word in found.words] == ["He", "said:", "the", "names!"]
    assert found.duration == pytest.approx(3.375)
    sound(found.words, found.duration)
    for word in found.words:
        assert (word.source, word.resolution) == ("qwen3-forced-aligner", 0.08)
        assert 0 < word.probability < 1
    given = opened.run(audio=clip, transcript=TEXT).outputs
    behind = given["end"] > found.duration
    assert [word.repaired for word in found.words] == (given["repaired"] | behind).tolist()


def test_the_command_prints_what_the_job_gives(aligner, opened, clip, capsys):
    want = composer.align(opened, clip, TEXT)
    assert main(["align", str(aligner), str(clip), TEXT, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["word"] for each in found["words"]] == [word.text for word in want.words]
    assert [each["start"] for each in found["words"]] == [round(w.start, 3) for w in want.words]
    assert {*found["words"][0]} == {
        "word", "start", "end", "probability", "repaired", "source", "resolution"
    }  # fmt: skip
    assert main(["align", str(aligner), str(clip), TEXT]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["He", "said:", "the", "names!"]
    assert [" * " in line for line in lines] == [word.repaired for word in want.words]


@pytest.mark.parametrize(
    ("seconds", "given", "text"),
    [
        (3.375, {"text": "?!"}, "R554 the text has no word to align"),
        (3.375, {"language": "ar"}, "R527 'Arabic' is not aligned by this model"),
        (4.5, {}, "R557 4.5 s of audio are aligned at once, and the times of qwen3-forced-aligner "
                  "end at 4 s"),
        (3.375, {"channel": "each"}, "R540 a text is aligned to one channel"),
    ],
)  # fmt: skip
def test_what_cannot_be_aligned_is_refused(opened, seconds, given, text):
    given = {"text": TEXT} | given
    with pytest.raises(ComposerError) as caught:
        composer.align(opened, (make_clip(seconds), RATE), given.pop("text"), **given)
    assert text in str(caught.value)


def test_a_bundle_that_aligns_nothing_is_refused(bundle, clip, capsys):
    assert main(["align", str(bundle), str(clip), TEXT]) == 2
    message = capsys.readouterr().err
    assert "is no aligner: it has no start, end, probability" in message


def test_segments_are_aligned_one_by_one(bundle, opened, clip):
    """Their times are those of the piece alone, later by where it begins."""
    (found,) = composer.transcribe(bundle, [clip], align=opened)
    samples, rate = soundfile.read(clip, dtype="float32")
    assert len(found.segments) > 2
    for segment in found.segments:
        piece = samples[round(segment.start * rate) : round(segment.end * rate)]
        alone = composer.align(opened, (piece, rate), segment.text)
        assert segment.words
        assert segment.words == tuple(word.later(segment.start) for word in alone.words)
        assert " ".join(word.text for word in segment.words) == segment.text
        sound(segment.words, segment.end + 1e-9)
    assert found.words == tuple(word for each in found.segments for word in each.words)
    (plain,) = composer.transcribe(bundle, [clip])
    assert (plain.text, plain.words) == (found.text, ())


def test_formats_have_the_words(bundle, aligner, clip, capsys):
    for name in ("json", "jsonl", "verbose_json"):
        flags = ["transcribe", str(bundle), str(clip), "-f", name, "--align", str(aligner)]
        assert main(flags) == 0
        found = json.loads(capsys.readouterr().out)
        if name == "json":
            (found,) = found
        words = found.get("words") or [w for each in found["segments"] for w in each["words"]]
        assert [each["word"] for each in words] == found["text"].split()
        assert words[0]["source"] == "qwen3-forced-aligner"


def test_what_is_not_aligned_keeps_its_text(bundle, opened, tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, make_clip(4.5), RATE, subtype="FLOAT")
    whole = write(tmp_path, BUNDLE)
    (found,) = composer.transcribe(whole, [path], align=opened)
    assert found.ok
    assert found.text
    assert found.words == ()
    assert found.notes == (
        "no times of words: 4.5 s of audio are aligned at once, and the times of "
        "qwen3-forced-aligner end at 4 s",
    )


def test_times_behind_the_end_are_moved_there_and_say_so():
    times = {
        "start": np.array([0.2, 1.1]), "end": np.array([0.4, 1.3]),
        "probability": np.array([0.9, 0.8]), "repaired": np.array([False, False]),
        "spans": np.array([[0, 2], [3, 5]]), "resolution": np.array([0.1]),
    }  # fmt: skip
    first, second = timed_words("ab cd", times, "x", 1.0)
    assert first == Word("ab", 0.2, 0.4, 0.9, False, "x", 0.1)
    assert second == Word("cd", 1.0, 1.0, 0.8, True, "x", 0.1)


def test_the_tokens_of_a_word_give_its_probability():
    ends = [-18, -10, 0, 1, 3, 7, 7]  # language, English, a tag, "o", "ne", " two", no character
    given = [-0.1, -0.2, -0.3, -1, -2, -4, -5]
    words = with_logprobs(plain_words("one two"), "one two", ends, given)
    assert [(word.text, word.logprob) for word in words] == [("one", -3), ("two", -4)]
    assert with_logprobs(plain_words("other"), "other", (), given) == (Word("other"),)


def test_words_have_the_probabilities_of_their_tokens(capsys):
    mini = composer.load("mega-asr-mini")
    clip = str(MINI / "clips" / "digits-01.flac")
    with mini:
        (found,) = composer.transcribe(mini, [clip], logprobs=True)
        (segment,) = found.segments
        assert [word.text for word in found.words] == found.text.split()
        sums = []
        for word in found.words:
            assert word.start is None
            sums.append(word.logprob)
        inside = [each for end, each in zip(segment.text_ends, segment.logprobs, strict=True)
                  if end > 0]  # fmt: skip
        assert sum(sums) == pytest.approx(sum(inside))
        assert segment.text_ends[-1] == len(found.text)
        (plain,) = composer.transcribe(mini, [clip])
        assert plain.words == ()
    assert main(["transcribe", "mega-asr-mini", clip, "-f", "jsonl", "--logprobs"]) == 0
    (part,) = json.loads(capsys.readouterr().out)["segments"]
    assert len(part["tokens"]) == len(part["logprobs"]) == len(segment.ids)
    assert part["words"][0] == {"word": "nine", "logprob": round(sums[0], 4)}


def test_subtitles_word_by_word(bundle, aligner, clip, capsys):
    flags = ["transcribe", str(bundle), str(clip), "--align", str(aligner)]
    assert main([*flags, "-f", "tsv", "--by-word"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()[1:]]
    (found,) = composer.transcribe(bundle, [clip], align=aligner)
    assert [line[2] for line in lines] == [word.text for word in found.words]
    assert [int(line[0]) for line in lines] == [round(word.start * 1000) for word in found.words]
    assert main([*flags[:3], "-f", "srt", "--by-word"]) == 2
    assert "R540 words have no times without an aligner" in capsys.readouterr().err

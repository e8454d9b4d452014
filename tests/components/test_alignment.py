"""Units of a text and repaired times, against the functions of transformers."""

import random

import numpy as np
import pytest
from transformers.models.qwen3_asr.processing_qwen3_asr import Qwen3ASRProcessor, _fix_timestamps

from composer.components.text.units import units
from composer.components.text.word_times import WordTimes, longest_run, probabilities, repair
from composer.core.errors import ComposerError

split = Qwen3ASRProcessor.split_words_for_alignment
ALPHABET = "aB'é1٣ \t\n,.-—“”„«»()它是𠀀豈ß’_²あ"


@pytest.mark.parametrize("seed", range(200))
def test_units_are_those_of_transformers(seed):
    text = "".join(random.Random(seed).choices(ALPHABET, k=seed % 40))
    found = units(text)
    assert [unit.text for unit in found] == split(None, text)
    ends = [0]
    for unit in found:
        assert unit.start >= ends[-1]
        assert not text[ends[-1] : unit.start].strip()  # only white space is between two
        assert text[unit.start : unit.end].strip() == text[unit.start : unit.end]
        ends.append(unit.end)
    if found:
        assert not text[ends[-1] :].strip()


def test_punctuation_goes_with_the_word_that_it_touches():
    text = "He said: “don't” - you — (know)!"
    words = [text[unit.start : unit.end] for unit in units(text)]
    assert words == ["He", "said:", "“don't”", "- you", "— (know)!"]
    assert [unit.text for unit in units("它是,the")] == ["它", "是", "the"]
    assert [(u.start, u.end) for u in units("它是,the")] == [(0, 1), (1, 3), (3, 6)]


def values(seed):
    draw = np.random.default_rng(seed)
    rising = np.sort(draw.integers(0, 60, 2 * draw.integers(1, 20)))
    noise = draw.random(len(rising)) < draw.choice([0, 0.1, 0.5, 1])
    return np.where(noise, draw.integers(0, 60, len(rising)), rising) * 80.0


@pytest.mark.parametrize("seed", range(300))
def test_the_repair_is_that_of_transformers(seed):
    given = values(seed)
    assert np.trunc(repair(given)).tolist() == _fix_timestamps(given)


def test_other_repairs_are_seen():
    """A strictly rising run, or none at all, differ from transformers on the same values."""
    differ = {"strict": 0, "none": 0, "last": 0}
    for seed in range(100):
        given = values(seed)
        want = _fix_timestamps(given)
        strict = repair(given + 1e-6 * np.arange(len(given))[::-1])
        last = repair(-given[::-1])[::-1] * -1
        differ["strict"] += np.round(strict).tolist() != want
        differ["none"] += given.tolist() != want
        differ["last"] += np.trunc(last).tolist() != want
    assert min(differ.values()) > 5, differ


def test_times_never_go_back_and_say_where_they_were_moved():
    logits = np.full((8, 30), -5.0, np.float32)
    logits[np.arange(8), [1, 3, 20, 4, 5, 6, 6, 9]] = 5.0
    found = WordTimes(0.08)(logits)
    np.testing.assert_allclose(found["start"], [0.08, 0.24, 0.4, 0.48])
    np.testing.assert_allclose(found["end"], [0.24, 0.32, 0.48, 0.72])
    assert found["repaired"].tolist() == [False, True, False, False]
    assert found["resolution"].tolist() == [0.08]
    assert found["limit"].tolist() == pytest.approx([2.4])
    assert (found["probability"] > 0.99).all()


def test_a_word_is_as_probable_as_the_less_probable_of_its_times():
    logits = np.array([[0, 2.0, 0], [0, 0, 1.0]], np.float32)
    want = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert WordTimes(0.08)(logits)["probability"] == pytest.approx(want[1, 2])
    assert probabilities(logits + 1e4, np.array([1, 2])) == pytest.approx(want.max(1), abs=1e-3)


def test_the_first_of_several_longest_runs_is_kept():
    assert longest_run(np.array([3, 1, 2, 0])).tolist() == [False, True, True, False]
    assert longest_run(np.array([2, 1])).tolist() == [True, False]


def test_marks_come_in_pairs():
    with pytest.raises(ComposerError, match="R554 3 marks are no pairs of a start and an end"):
        WordTimes(0.08)(np.zeros((3, 5), np.float32))

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composer.evaluation.alignment import AlignedWords
from composer.evaluation.normalizer import normalizer
from composer.evaluation.score import ErrorCounts, score, sum_counts

WORDS = st.lists(st.sampled_from("a b c dd".split()), max_size=6).map(" ".join)


def distance(reference, found):
    """Count the edits between two sequences, the plain way."""
    row = list(range(len(found) + 1))
    for i, expected in enumerate(reference, 1):
        previous, row = row, [i]
        for j, have in enumerate(found, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (expected != have)))
    return row[-1]


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_counts_are_those_of_the_edit_distance(pairs):
    scores = score(pairs)
    for (reference, messages), found in zip(pairs, scores, strict=True):
        assert found.words.errors == distance(reference.split(), messages.split())
        assert found.words.total == len(reference.split())
        assert found.characters.errors == distance(reference, messages)
        assert found.characters.total == len(reference)
        assert sum((span.reference for span in found.spans), ()) == tuple(reference.split())
        assert sum((span.hypothesis for span in found.spans), ()) == tuple(messages.split())
    pooled = sum_counts(each.words for each in scores)
    if pooled.total:
        assert pooled.rate == pytest.approx(jiwer.wer(*map(list, zip(*pairs, strict=True))))


def test_each_kind_of_error():
    (found,) = score([("a b c d", "a x c d e")])
    assert found.words == ErrorCounts(hits=3, substitutions=1, insertions=1)
    assert found.spans == (
        AlignedWords("equal", ("a",), ("a",)),
        AlignedWords("substitute", ("b",), ("x",)),
        AlignedWords("equal", ("c", "d"), ("c", "d")),
        AlignedWords("insert", (), ("e",)),
    )


def test_nothing():
    both, reference, messages = score([("", ""), ("", "a b"), ("a b", "")])
    assert (both.words, both.words.rate) == (ErrorCounts(), None)
    assert (reference.words, reference.words.rate) == (ErrorCounts(insertions=2), None)
    assert (messages.words, messages.words.rate) == (ErrorCounts(deletions=2), 1.0)
    assert score([]) == []


@pytest.mark.parametrize(
    ("counts", "percent", "within"),
    [
        (ErrorCounts(hits=8, substitutions=2), 20, True),
        (ErrorCounts(hits=8, substitutions=2, insertions=1), 20, False),
        (ErrorCounts(hits=5), 0, True),
        (ErrorCounts(hits=999, deletions=1), 0, False),
        (ErrorCounts(), 0, True),
        (ErrorCounts(insertions=1), 20, False),
    ],
)
def test_within(counts, percent, within):
    assert counts.within(percent) is within


def test_a_hypothesis_of_which_no_word_is_left():
    rule = normalizer("release-000")
    pairs = [(rule("a b"), rule(messages)) for messages in ("", "...", "b.")]
    assert [each.words.hypothesis_total for each in score(pairs, rule)] == [0, 0, 1]

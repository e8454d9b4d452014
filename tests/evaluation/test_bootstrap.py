import numpy as np
import pytest
from scipy import stats

from composer.evaluation.bootstrap import ConfidenceInterval, bootstrap_interval, paired_bootstrap

RANDOM = np.random.default_rng(7)
SIZES = RANDOM.integers(3, 20, 400)
ERRORS = RANDOM.binomial(SIZES, 0.15)


def test_the_interval_is_that_of_scipy():
    def rate(errors, sizes, axis=-1):
        return errors.sum(axis) / sizes.sum(axis)

    known = stats.bootstrap(
        (ERRORS, SIZES), rate, paired=True, vectorized=True, n_resamples=5000, batch=500,
        method="percentile", rng=1,
    ).confidence_interval  # fmt: skip
    found = bootstrap_interval(ERRORS, SIZES)
    assert found.low == pytest.approx(known.low, abs=0.002)
    assert found.high == pytest.approx(known.high, abs=0.002)
    # Rates of utterances, instead of a ratio of sums, would be another number.
    assert found.low < ERRORS.sum() / SIZES.sum() < found.high


def test_it_is_the_same_each_time():
    assert bootstrap_interval(ERRORS, SIZES) == bootstrap_interval(ERRORS, SIZES)


def test_one_utterance_and_none():
    assert bootstrap_interval(np.array([1]), np.array([4])) is None
    assert bootstrap_interval(np.array([1, 0]), np.array([4, 0])) is None
    assert bootstrap_interval(np.array([2]), np.array([0])) is None
    assert bootstrap_interval(np.array([], int), np.array([], int)) is None


def test_resamples_without_a_word_are_left_out():
    found = bootstrap_interval(np.array([1, 1, 1]), np.array([0, 2, 2]))
    assert np.isfinite([found.low, found.high]).all()
    assert found.low == 0.5 < found.high


def test_equal_systems_do_not_differ():
    found = paired_bootstrap(ERRORS, ERRORS, SIZES)
    assert (found.difference, found.interval, found.p) == (0.0, ConfidenceInterval(0.0, 0.0), 1.0)


def test_pairs_show_what_two_intervals_hide():
    """A system that is better by one word in most utterances: its interval overlaps the other's."""
    better = np.maximum(ERRORS - (RANDOM.random(400) < 0.25), 0)
    one, other = bootstrap_interval(better, SIZES), bootstrap_interval(ERRORS, SIZES)
    assert one.high > other.low
    found = paired_bootstrap(better, ERRORS, SIZES)
    assert found.interval.high < 0
    assert found.p < 0.001
    assert found.difference == pytest.approx((better.sum() - ERRORS.sum()) / SIZES.sum())


def test_the_order_of_pairs_matters():
    """Against the same errors shuffled, the interval is wide: pairs were really kept."""
    shuffled = RANDOM.permutation(ERRORS)
    found = paired_bootstrap(ERRORS, shuffled, SIZES)
    assert found.interval.low < 0 < found.interval.high


@pytest.mark.parametrize("count", [1, 2, 5, 8, 12])
def test_few_utterances_prove_nothing(count):
    """Each is one word worse: of 2^n ways to swap them, two are as far from even."""
    found = paired_bootstrap(np.ones(count, int), np.zeros(count, int), np.full(count, 7))
    assert found.p == 2 / 2**count
    assert (found.interval is None) == (count == 1)


def test_p_is_that_of_scipys_permutations():
    one, other = ERRORS[:60], np.maximum(ERRORS[:60] - (RANDOM.random(60) < 0.15), 0)
    known = stats.permutation_test(
        (one, other), lambda x, y, axis: (x - y).sum(axis), permutation_type="samples",
        vectorized=True, n_resamples=20_000, rng=3,
    )  # fmt: skip
    assert paired_bootstrap(one, other, SIZES[:60]).p == pytest.approx(known.pvalue, abs=0.01)
    assert paired_bootstrap(other, one, SIZES[:60]).p == paired_bootstrap(one, other, SIZES[:60]).p


def test_p_is_even_where_nothing_differs():
    """Of systems that differ by chance alone, about one in ten has p below 0.1."""
    low = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        sizes = random.integers(3, 12, 60)
        one, other = random.binomial(sizes, 0.2), random.binomial(sizes, 0.2)
        low += paired_bootstrap(one, other, sizes).p < 0.1
    assert 3 <= low <= 20

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from composer.core.errors import ComposerError
from composer.generation.sampler import Sampler, Sampling, log_probability


def of_transformers(logits, sampling):
    warpers = [TemperatureLogitsWarper(sampling.temperature)]
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    scores = torch.tensor(logits)[None]
    for warper in warpers:
        scores = warper(None, scores)
    return torch.softmax(scores, -1)[0].numpy()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("top_p", [1.0, 0.95, 0.5, 0.01])
@pytest.mark.parametrize("top_k", [0, 1, 7, 1000])
def test_probabilities_are_those_of_transformers(temperature, top_p, top_k):
    sampling = Sampling(temperature, top_p, top_k)
    for seed in range(5):
        logits = np.random.default_rng(seed).normal(0, 3, 300).astype(np.float32)
        ours = Sampler(sampling).probabilities(logits)
        theirs = of_transformers(logits, sampling)
        assert np.array_equal(ours > 0, theirs > 0)
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("min_p", [0.001, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_min_p_is_that_of_transformers(min_p, top_p):
    sampling = Sampling(0.8, top_p, min_p=min_p)
    kept = set()
    for seed in range(5):
        logits = np.random.default_rng(seed).normal(0, 3, 300).astype(np.float32)
        ours = Sampler(sampling).probabilities(logits)
        theirs = of_transformers(logits, sampling)
        assert np.array_equal(ours > 0, theirs > 0)
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-9)
        kept.add(int((ours > 0).sum()))
    assert max(kept) < 300
    assert (min_p == 1) == (kept == {1})


@pytest.mark.parametrize("penalty", [0.5, 1.3, 5.0])
def test_the_repetition_penalty_is_that_of_transformers(penalty):
    sampler, ids = Sampler(Sampling(repetition_penalty=penalty)), []
    process = RepetitionPenaltyLogitsProcessor(penalty)
    for seed in range(40):
        logits = np.random.default_rng(seed).normal(0, 1, 12).astype(np.float32)
        past = torch.tensor([ids], dtype=torch.long)
        expected = process(past, torch.tensor(logits)[None].clone())[0].numpy() if ids else logits
        np.testing.assert_allclose(sampler.penalized(logits), expected, rtol=1e-6)
        ids.append(sampler.choose(logits))
        assert ids[-1] == int(np.argmax(expected))
    plain = [int(np.argmax(np.random.default_rng(seed).normal(0, 1, 12))) for seed in range(40)]
    assert ids != plain


def test_presence_counts_once_and_frequency_each_time():
    """mu[j] - c[j] * frequency - (c[j] > 0) * presence, as OpenAI's documentation has it."""
    sampler = Sampler(Sampling(presence_penalty=0.5, frequency_penalty=0.25))
    logits = np.float32([3, 2.4, 0, -1])
    assert [sampler.choose(logits) for _ in range(5)] == [0, 1, 0, 0, 0]
    np.testing.assert_allclose(sampler.penalized(logits), [3 - 0.5 - 1, 2.4 - 0.75, 0, -1])
    assert Sampler(Sampling(presence_penalty=-1.0)).choose(logits) == 0


def test_a_log_probability_is_that_of_the_models_own_logits():
    logits = np.random.default_rng(0).normal(0, 30, 1000).astype(np.float32)
    expected = torch.log_softmax(torch.tensor(logits, dtype=torch.float64), -1).numpy()
    found = [log_probability(logits, token) for token in range(1000)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_top_p_before_top_k_would_be_another_distribution():
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], np.float32))
    kept = Sampler(Sampling(1.0, top_p=0.55, top_k=2)).probabilities(logits)
    assert (kept > 0).tolist() == [True, False, False, False]
    alone = Sampler(Sampling(1.0, top_p=0.55)).probabilities(logits)
    assert (alone > 0).tolist() == [True, True, False, False]


def test_top_k_keeps_ties():
    kept = Sampler(Sampling(1.0, top_k=2)).probabilities(np.float32([1, 3, 2, 2]))
    assert (kept > 0).tolist() == [False, True, True, True]


def test_greedy_takes_the_first_of_the_likeliest():
    assert Sampler(Sampling()).choose(np.float32([0, 5, 5, 1])) == 1


def test_draws_follow_the_probabilities():
    logits = np.log(np.float32([0.5, 0.25, 0.125, 0.125]))
    sampler = Sampler(Sampling(1.0, seed=3))
    drawn = np.bincount([sampler.choose(logits) for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(drawn, [0.5, 0.25, 0.125, 0.125], atol=0.03)


def test_the_seed_decides():
    logits = np.zeros(50, np.float32)

    def draw(seed):
        sampler = Sampler(Sampling(1.0, seed=seed))
        return [sampler.choose(logits) for _ in range(20)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


def test_the_likeliest_is_kept_where_its_chance_rounds_to_that_of_another():
    chances = Sampler(Sampling(1.0, 0.5)).probabilities(np.float32([-8e-30, 0.0]))
    assert chances.tolist() == [0.0, 1.0]


@given(
    st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=40),
    st.floats(0.05, 5),
    st.floats(0.001, 1),
    st.integers(0, 50),
    st.integers(0, 2**64 - 1),
)
@settings(max_examples=100, deadline=None)
def test_a_drawn_token_is_always_possible(logits, temperature, top_p, top_k, seed):
    sampler = Sampler(Sampling(temperature, top_p, top_k, seed))
    logits = np.float32(logits)
    chances = sampler.probabilities(logits)
    assert chances.sum() == pytest.approx(1)
    assert chances[np.argmax(logits)] > 0
    assert all(chances[sampler.choose(logits)] > 0 for _ in range(5))


def test_bad_options_are_all_reported():
    with pytest.raises(ComposerError) as caught:
        Sampling(temperature=-1, top_p=0, top_k=-2, seed=-1)
    assert str(caught.value) == (
        "R510 temperature is -1; it must be 0 or more, and finite\n"
        "R510 top_p is 0; it must be above 0 and at most 1\n"
        "R510 top_k is -2; it must be 0, which keeps all, or more\n"
        "R510 seed is -1; it must be from 0 to 2**64 - 1"
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_temperature_is_finite(bad):
    with pytest.raises(ComposerError, match=r"it must be 0 or more, and finite"):
        Sampling(temperature=bad)


def test_options_without_effect_are_refused():
    with pytest.raises(ComposerError) as caught:
        Sampling(top_p=0.9, top_k=5)
    assert str(caught.value) == (
        "R510 top_p 0.9 has no effect at temperature 0, which is greedy\n"
        "R510 top_k 5 has no effect at temperature 0, which is greedy"
    )


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0)])
@pytest.mark.parametrize("logits", [[0, np.nan], [0, np.inf, 1], [np.inf, np.inf], [-np.inf] * 2])
def test_logits_that_are_no_numbers_are_refused(sampling, logits):
    with pytest.raises(ComposerError, match="R512 the decoder's logits are not numbers"):
        Sampler(sampling).choose(np.float32(logits))


@given(
    st.lists(st.floats(width=32, allow_nan=False) | st.just(-np.inf), min_size=1, max_size=20),
    st.floats(0, 100),
    st.floats(0, 1, exclude_min=True),
    st.integers(0, 50),
)
@settings(max_examples=300, deadline=None)
def test_a_token_is_in_the_vocabulary_or_refused(logits, temperature, top_p, top_k):
    sampling = Sampling(temperature, top_p, top_k) if temperature else Sampling()
    try:
        token = Sampler(sampling).choose(np.float32(logits))
    except ComposerError:
        assert not np.isfinite(max(logits))
    else:
        assert 0 <= token < len(logits)
        assert logits[token] > -np.inf


@pytest.mark.parametrize("temperature", [5e-324, 1e-308, 1e-30])
def test_the_smallest_temperatures_draw_among_the_likeliest(temperature):
    sampler = Sampler(Sampling(temperature))
    drawn = {sampler.choose(np.float32([3, 88, 88, -np.inf, 87])) for _ in range(40)}
    assert drawn == {1, 2}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_runs_of_tokens_come_once_as_in_transformers(size):
    sampler, ids = Sampler(Sampling(no_repeat_ngram_size=size)), []
    process = NoRepeatNGramLogitsProcessor(size)
    for seed in range(11):
        logits = np.random.default_rng(seed % 3).normal(0, 1, 12).astype(np.float32)
        past = torch.tensor([ids], dtype=torch.long)
        expected = process(past, torch.tensor(logits)[None].clone())[0].numpy() if ids else logits
        np.testing.assert_array_equal(sampler.penalized(logits), expected)
        ids.append(sampler.choose(logits))
        assert ids[-1] == int(np.argmax(expected))
    runs = [tuple(ids[at : at + size]) for at in range(len(ids) - size + 1)]
    assert len({*runs}) == len(runs)
    plain = [int(np.random.default_rng(seed % 3).normal(0, 1, 12).argmax()) for seed in range(11)]
    assert ids != plain


def test_a_sampled_token_is_none_that_is_banned():
    sampler = Sampler(Sampling(temperature=1.0, no_repeat_ngram_size=1))
    assert sorted(sampler.choose(np.zeros(8, np.float32)) for _ in range(8)) == [*range(8)]
    with pytest.raises(ComposerError, match="R510 no token is left"):
        sampler.choose(np.zeros(8, np.float32))

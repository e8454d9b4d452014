"""The precision with which a bundle fits into a budget."""

from dataclasses import replace

import numpy as np
import pytest

import composer
from composer.comparison.divergence import kl
from composer.core.errors import ComposerError
from composer.jobs.budget import PrecisionPlan, PrecisionTrial, _editions, _pareto, budget
from composer.manifest import read_manifest
from composer.manifest.add_variant import add_variant
from composer.manifest.precision_request import read_precision
from composer.runtime.opening import BundleOptions
from composer.sources.shipped import shipped_folder

MINI = shipped_folder("bundles") / "elderwise-mini"
CLIP = MINI / "clips" / "digits-01.flac"


def test_divergence_is_that_of_the_distributions():
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 3, 5)).astype(np.float32)
    one, other = (np.exp(x.astype(np.float64)) for x in (p, q))
    one, other = (x / x.sum(-1, keepdims=True) for x in (one, other))
    np.testing.assert_allclose(kl(p, q), (one * np.log(one / other)).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(kl(p, p + 7), 0, atol=1e-6)
    assert (kl(p, q) > 0.01).all()


def test_no_edition_that_another_beats_is_listed():
    choices = [
        PrecisionTrial("a", "small", 60, 0.3),
        PrecisionTrial("a", "near", 80, 0.1),
        PrecisionTrial("a", "worse", 85, 0.2),
        PrecisionTrial("b", "half", 90, 0.05),
    ]
    found = _pareto(_editions(100, choices))
    assert [(each.nbytes, round(each.divergence, 3)) for each in found] == [
        (100, 0), (90, 0.05), (80, 0.1), (70, 0.15), (60, 0.3), (50, 0.35),
    ]  # fmt: skip
    assert found[-1] == PrecisionPlan({"a": "small", "b": "half"}, 50, 0.35, measured=False)


@pytest.mark.slow
def test_more_bits_are_nearer_and_what_fits_is_picked():
    tried = ["ple-safe-4bit", "ple-safe-8bit"]
    found = budget(str(MINI), 10_500_000, [CLIP], task="transcribe", precisions=tried)
    four, eight = found.choices
    assert (four.component, four.precision) == ("decoder", "ple-safe-4bit")
    assert four.nbytes < eight.nbytes < found.stored
    assert 0 < eight.divergence < four.divergence / 10
    assert found.pick.precision == {"decoder": "ple-safe-4bit"}
    assert found.pick.measured


def test_a_budget_needs_clips():
    with pytest.raises(ComposerError, match="R540 no clip is given to measure on"):
        budget(str(MINI), 1, [], task="transcribe")


def test_a_pick_becomes_a_variant(tmp_path):
    composer.create(tmp_path / "own", like="elderwise-mini")
    file = tmp_path / "own" / "bundle.yaml"
    text = file.read_text()
    add_variant(tmp_path / "own", "small", {"decoder": "mixed-8-4"})
    assert file.read_text().startswith(text.rstrip())
    add_variant(tmp_path / "own", "smaller", {"decoder": "uniform-4,float16"})
    own = "{recipe: mixed-8-4, keep: ['*.down_proj'], rules: {'*.q_proj': 6}}"
    for name, asked in (("own", own), ("bits", "{bits: 5, group_size: 32, keep: [a]}")):
        add_variant(tmp_path / "own", name, {"decoder": asked})
        wanted = replace(read_precision(asked).recipe, dtype="float32")
        assert read_manifest(file, name).components["decoder"].precision == wanted
    for name, recipe, dtype in (
        ("small", "mixed-8-4", "float32"),  # which the manifest says
        ("smaller", "uniform-4", "float16"),
    ):
        manifest = read_manifest(file, name)
        precision = manifest.components["decoder"].precision
        assert (precision.name, precision.dtype) == (recipe, dtype)
    with pytest.raises(ComposerError, match="R542 there is a variant 'small' already"):
        add_variant(tmp_path / "own", "small", {"decoder": "int8"})


@pytest.mark.slow
def test_no_smaller_recipe_errs_less_than_the_pick(tmp_path):
    """By `composer eval`, clip by clip: none is better by more than chance."""
    clips = sorted((MINI / "clips").glob("*.flac"))
    tried = ["uniform-4", "ple-safe-4bit", "mixed-8-4", "ple-safe-8bit"]
    found = budget(str(MINI), 12_000_000, clips[:4], task="transcribe", precisions=tried)
    pick = found.pick
    assert pick.precision == {"decoder": "ple-safe-8bit"}
    smaller = [each for each in found.choices if each.nbytes < pick.nbytes]
    assert len(smaller) == 3
    data = MINI / "clips" / "references.jsonl"
    best = tmp_path / "pick"
    options = BundleOptions(MINI, precision=dict(pick.precision))
    composer.evaluate(options, data, task="transcribe", folder=best)
    for each in smaller:
        assert each.divergence > pick.divergence
        options = BundleOptions(MINI, precision={"decoder": each.precision})
        other = composer.evaluate(options, data, task="transcribe", against=best / "results.jsonl")
        words = other.against.words  # this one less the pick
        assert words.difference >= 0 or words.p > 0.05

"""Pulling through Python alone, where there is nothing to fetch."""

import pytest

import composer


def test_nothing_is_pulled_for_a_bundle_that_is_here():
    assert composer.pull("mega-asr-mini") == composer.PullResult("mega-asr-mini", (), ())
    with pytest.raises(composer.ComposerError, match="R543"):
        composer.pull("mega-asr-mini", task="chat")

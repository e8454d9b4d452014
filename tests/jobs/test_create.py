"""Copying a bundle through Python alone."""

import pytest

import composer


def test_a_copy_is_checked_and_runs(own, clips):
    assert composer.check(own).ok
    (found,) = composer.transcribe(own, list(clips)[:1])
    assert found.ok


def test_a_copy_overwrites_nothing(own):
    with pytest.raises(composer.ComposerError, match=r"R542 .*is not an empty folder"):
        composer.create(own)
    with pytest.raises(composer.ComposerError, match="S474"):
        composer.create(own / "x", like="mega-asr-min")

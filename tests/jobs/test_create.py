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


def test_a_copy_follows_no_link(own, tmp_path):
    """What a link of a folder points to would be published with the copy."""
    (tmp_path / "mine").write_text("mine")
    (own / "LICENSE").symlink_to(tmp_path / "mine")
    with pytest.raises(composer.ComposerError) as caught:
        composer.create(tmp_path / "copy", like=str(own))
    assert str(caught.value).splitlines() == [
        f"R542 a copy has only files of the bundle's folder, and no links: {own / 'LICENSE'}",
        "    hint: put the file itself there",
    ]

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


@pytest.mark.parametrize("was_there", [False, True])
def test_a_copy_that_fails_leaves_nothing(tmp_path, monkeypatch, was_there):
    """As on a full disk: half a bundle would be in the way of the next attempt."""

    def refuse(source, target, **_):
        raise OSError(28, "No space left on device", str(target))

    folder = tmp_path / "own"
    if was_there:
        folder.mkdir()
    monkeypatch.setattr("shutil.copyfile", refuse)
    refused = pytest.raises(composer.ComposerError, match=r"R507 cannot copy: .*No space left")
    with refused as caught:
        composer.create(folder)
    assert caught.value.exit_code == 5
    assert list(tmp_path.rglob("*")) == ([folder] if was_there else [])

"""Small files that spare work the next time."""

import os
import stat

import pytest

from composer.core.safe_write import write_cache_file


def test_a_note_is_written_with_its_folder(tmp_path):
    write_cache_file(tmp_path / "a" / "b" / "note.json", '{"é": 1}')
    assert (tmp_path / "a" / "b" / "note.json").read_bytes() == '{"é": 1}'.encode()
    write_cache_file(tmp_path / "a" / "b" / "note.json", b"\x00")
    assert (tmp_path / "a" / "b" / "note.json").read_bytes() == b"\x00"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["note.json"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a" / "b" / "note.json").stat().st_mode) == 0o666 & ~umask


def test_a_note_that_cannot_be_written_is_none(tmp_path):
    (tmp_path / "file").write_text("mine")
    write_cache_file(tmp_path / "file" / "note", "x")
    (tmp_path / "folder" / "note").mkdir(parents=True)
    write_cache_file(tmp_path / "folder" / "note", "x")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="there are no links")
def test_a_note_is_not_written_through_a_link(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "note").symlink_to(tmp_path / "theirs")
    write_cache_file(tmp_path / "note", "mine")
    assert (tmp_path / "theirs").read_text() == "theirs"

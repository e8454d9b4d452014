from pathlib import Path

import pytest

from composer.location import Location


@pytest.fixture
def repo(tmp_path: Path) -> Location:
    """The source `repo`, an empty folder."""
    root = tmp_path / "repo"
    root.mkdir()
    return Location("repo", "", root)

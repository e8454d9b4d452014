from pathlib import Path

import pytest
from hypothesis import settings

from composer.core.location import Location

# A busy machine is slow at any example; what hangs is found by scripts/fuzz.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def repo(tmp_path: Path) -> Location:
    """The source `repo`, an empty folder."""
    root = tmp_path / "repo"
    root.mkdir()
    return Location("repo", "", root)

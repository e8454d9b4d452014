import os
from ctypes import util

import pytest

from tests.fakes import fakes

__all__ = ["fakes", "speaks"]


@pytest.fixture(scope="session")
def speaks():
    """Skip where espeak-ng is missing; CI installs it, and there its absence is a failure."""
    if util.find_library("espeak-ng") is None and not os.environ.get("CI"):
        pytest.skip("espeak-ng is not installed; try apt-get install espeak-ng")

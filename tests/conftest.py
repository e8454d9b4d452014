import os
from ctypes import util

import pytest

from tests.fakes import fakes

__all__ = ["fakes", "speaks"]


@pytest.fixture(scope="session", autouse=True)
def _no_network(tmp_path_factory):
    """Keep tests off the network and out of the user's cache; tests/sources has its own Hub."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("huggingface")))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def speaks():
    """Skip where espeak-ng is missing; CI installs it, and there its absence is a failure."""
    if util.find_library("espeak-ng") is None and not os.environ.get("CI"):
        pytest.skip("espeak-ng is not installed; try apt-get install espeak-ng")

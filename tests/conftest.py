import os
import tomllib
from ctypes import util
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.fakes import fakes

ROOT = Path(__file__).parent.parent
INSTALL = ".venv/bin/python -m pip install --no-deps -e ."


def pytest_configure():
    """Stop where entry points were changed since the package was installed: all would fail."""
    written = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    expected = {(group, name, value) for group in written for name, value in written[group].items()}
    found = {(e.group, e.name, e.value) for e in distribution("bundle-composer").entry_points}
    if missing := sorted(name for _, name, _ in expected - found):
        pytest.exit(f"{', '.join(missing)}: entry points are new; run {INSTALL}", 3)


def pytest_collection_modifyitems(items):
    """Give slow tests an hour, in place of the five minutes that end a test which hangs.

    Those of the documentation come first: they are long, and no other worker should wait for them.
    """
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(3600))
    items.sort(key=lambda item: item.get_closest_marker("docs") is None)


__all__ = ["fakes", "speaks"]


@pytest.fixture(scope="session", autouse=True)
def _no_network(tmp_path_factory):
    """Keep tests off the network and out of the user's folders; tests/sources has its own Hub."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("huggingface")))
    patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def one_thread():
    """Keep torch from spreading tiny products over threads, which is slow on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def speaks():
    """Skip where espeak-ng is missing; CI installs it, and there its absence is a failure."""
    if util.find_library("espeak-ng") is None and not os.environ.get("CI"):
        pytest.skip("espeak-ng is not installed; try apt-get install espeak-ng")

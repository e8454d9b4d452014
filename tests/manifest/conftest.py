"""A working folder for manifests."""

from pathlib import Path

import pytest

from composer.manifest import yaml_events
from tests.manifest.trees import LOADERS


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__)
def loader(request, monkeypatch):
    monkeypatch.setattr(yaml_events, "LOADER", request.param)


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write a manifest into the current folder, so that messages hold no long path."""
    monkeypatch.chdir(tmp_path)

    def write(content, name="b.yaml"):
        path = Path(name)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write

"""A hub on this machine for one test, with a cache of its own."""

from contextlib import ExitStack

import pytest

from mirror import Mirror

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "HF_HUB_CACHE")


@pytest.fixture
def hub_home(tmp_path, monkeypatch):
    """Keep tokens and caches of this machine out of a test."""
    home = tmp_path / "hf"
    for name in TOKENS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    return home


@pytest.fixture
def hub(hub_home, monkeypatch):
    """Start a mirror of some repositories, and name it to clients that read HF_ENDPOINT."""
    with ExitStack() as stack:

        def start(repositories, **options):
            mirror = stack.enter_context(Mirror(repositories, **options))
            monkeypatch.setenv("HF_ENDPOINT", mirror.url)
            return mirror

        yield start

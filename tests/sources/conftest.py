"""A hub on this machine for one test, with a cache of its own."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from composer import ComposerError
from composer.sources.hub import Hub, RequiredFile, client, parse_id, transfer
from mirror import Mirror

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "HF_HUB_CACHE")
MINI = Path(__file__).parents[2] / "bundles" / "mega-asr-mini"


@pytest.fixture
def hub_home(tmp_path, monkeypatch):
    """Keep tokens and caches of this machine out of a test, and what this process knows."""
    from huggingface_hub import constants

    home = tmp_path / "hf"
    for name in TOKENS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(client, "WAIT", 0.01)
    monkeypatch.setattr(transfer, "WAIT", 0.01)
    forget()
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


@pytest.fixture
def new_process(monkeypatch):
    """Be a new process as far as the Hub is concerned; by `offline`, one without a network."""

    def begin(offline=False):
        forget()
        if offline:
            monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    return begin


class Seen:
    """What a test has asked of the Hub so far."""

    hub = Hub()


def forget():
    """Forget which commits and failures were seen."""
    Seen.hub = Hub()


def snapshot(id):
    """Return a repository at the commit that was seen first."""
    return Seen.hub.snapshot(id)


def refusal(call, *arguments, **named):
    """Return the problems that a call is refused with, as a user reads them."""
    with pytest.raises(ComposerError) as caught:
        call(*arguments, **named)
    return [str(problem) for problem in caught.value.problems]


def needs(repo, *paths):
    """Return the files of a repository as a component would need them."""
    found = snapshot(parse_id(repo))
    return [RequiredFile(found, found.files[path], ("decoder",)) for path in paths or found.files]


def mini():
    """Return the files of the miniature as a repository holds them."""
    return {
        path.relative_to(MINI).as_posix(): path
        for path in sorted(MINI.rglob("*"))
        if path.is_file() and "clips" not in path.parts
    }

import json

import pytest

import composer
from composer.sources.shipped import shipped_folder

MINI = shipped_folder("bundles") / "mega-asr-mini"


@pytest.fixture(scope="session")
def mini():
    """Load the miniature once for all jobs that run it."""
    with composer.load(MINI) as bundle:
        yield bundle


@pytest.fixture(scope="session")
def clips():
    """Return two clips of the miniature, each with the text that is read in it."""
    path = MINI / "clips" / "references.jsonl"
    entries = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    texts = {entry.get("audio") or entry["audio_filepath"]: entry["text"] for entry in entries}
    return {str(MINI / "clips" / name): texts[name] for name in ("digits-01.flac", "dates-05.flac")}


@pytest.fixture
def own(tmp_path):
    """Make a bundle of one's own from the miniature; return its folder."""
    composer.create(tmp_path / "my-asr")
    return tmp_path / "my-asr"

import json

import openai
import pytest

import composer
from composer.sources.shipped import shipped_folder
from tests.server.gates import wav
from tests.server.serving import serving

BUNDLES = shipped_folder("bundles")
MINI = BUNDLES / "mega-asr-mini"
CLIP = MINI / "clips" / "digits-01.flac"


@pytest.fixture(scope="session")
def bundles():
    """Load both miniatures once."""
    names = ("mega-asr-mini", "elderwise-mini")
    opened = {name: composer.load(BUNDLES / name) for name in names}
    yield opened
    for each in opened.values():
        each.close()


@pytest.fixture(scope="module")
def served(bundles):
    """Serve both miniatures, one of them also as a repository would be named."""
    with serving({**bundles, "org/mini": bundles["mega-asr-mini"]}) as running:
        yield running


@pytest.fixture
def client(served):
    """Return OpenAI's own client, which tries nothing twice."""
    with openai.OpenAI(base_url=served.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def clip():
    return CLIP.read_bytes()


@pytest.fixture(scope="session")
def expected(bundles):
    """Return what `composer transcribe` gives of the clip."""
    (found,) = composer.transcribe(bundles["mega-asr-mini"], [CLIP], logprobs=True)
    assert found.text == "nine one eight one one eight three"
    return found


@pytest.fixture(scope="session")
def references():
    lines = (MINI / "clips" / "references.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def audio():
    """Return a short recording at the rate of the fakes."""
    return wav()

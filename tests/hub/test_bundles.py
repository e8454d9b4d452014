"""A bundle on the Hub is checked from afar, downloaded where it runs, and runs without the Hub."""

import composer
from tests.hub.conftest import MINI, mini

CLIP = next(MINI.rglob("*.flac"), None) or next(MINI.rglob("*.wav"))


def test_a_bundle_is_checked_from_its_headers_alone(serve):
    mirror = serve({"ann/mini": mini()})
    report = composer.check("ann/mini")
    assert [str(problem) for problem in report.problems] == []
    weights = [request for request in mirror.requests if "safetensors" in request.path]
    assert weights
    total = sum(path.stat().st_size for path in mini().values())
    print(mirror.sent, total, len(mirror.requests))


def test_a_bundle_is_downloaded_and_runs(serve, cache, offline):
    serve({"ann/mini": mini()})
    import time
    t=time.time()
    with composer.load("hf:ann/mini") as bundle:
        print("load", time.time()-t)
        text = bundle.run(audio=str(CLIP)).text
    assert text
    print("run", time.time()-t)
    offline()
    with composer.load("hf:ann/mini") as bundle:
        assert bundle.run(audio=str(CLIP)).text == text
    print("again", time.time()-t)

"""Group A: a hostile or failing Hub, seen from the command line."""

import json
import tracemalloc
from pathlib import Path

import pytest

from composer.core.errors import ComposerError
from composer.sources.hub import client, listing
from mirror import Fault, Repository
from tests.hostile.hub_files import BODY, FILES, SIZE, STORE, WEIGHTS, kept, pull, served

__all__ = ["pull"]

ZEROS = "0" * 40


def test_the_bundle_itself_is_sound(hub, cli, hub_home):
    served(hub)
    assert cli("pull", "ann/tiny")[0] == 0
    assert kept(hub_home)[Path(WEIGHTS).name] == FILES[WEIGHTS]


REFUSED = {
    "A1 same size, one byte wrong": (WEIGHTS, Fault(corrupt=True), "S418"),
    "A2 a small file, one byte wrong": ("bundle.yaml", Fault(corrupt=True), "S418"),
    "A4 a size that is a lie": (WEIGHTS, Fault(headers={"X-Linked-Size": "5"}), "S419"),
    "A4 a size that is no number": (WEIGHTS, Fault(headers={"X-Linked-Size": "9e9"}), "S419"),
    "A5 a body that is longer": (WEIGHTS, Fault(longer=300_000_000), "S437"),
    "A5 a small body that is longer": ("bundle.yaml", Fault(longer=300_000_000), "S419"),
    "A6 a body without end": (WEIGHTS, Fault(endless=1 << 34, **STORE), "S437"),
    "A6 a small body without end": ("bundle.yaml", Fault(endless=1 << 34), "S437"),
    "A12 ETag ../": (WEIGHTS, Fault(headers={"X-Linked-Etag": '"../../../../X"'}), "S419"),
    "A12 ETag ../ of a small file": ("bundle.yaml", Fault(headers={"ETag": '"../../X"'}), "S419"),
    "A13 ETag of an absolute path": (WEIGHTS, Fault(headers={"X-Linked-Etag": '"/abs"'}), "S419"),
    "A14 ETag ..": (WEIGHTS, Fault(headers={"X-Linked-Etag": '".."'}), "S419"),
    "A15 ETag of 300": (WEIGHTS, Fault(headers={"X-Linked-Etag": f'"{"a" * 300}"'}), "S419"),
    "A16 commit ../../x": (WEIGHTS, Fault(headers={"X-Repo-Commit": "../../x"}), "S419"),
    "A16 the Hub's commit ../../x": ("/info", Fault(body=b'{"sha": "../../x"}'), "S419"),
    "A17 commit main": (WEIGHTS, Fault(headers={"X-Repo-Commit": "main"}), "S419"),
    "A18 commit of zeros": (WEIGHTS, Fault(headers={"X-Repo-Commit": ZEROS}), "S419"),
    "A18 the Hub's commit of zeros": (
        "/info",
        Fault(body=json.dumps({"sha": ZEROS}).encode()),
        "S419",
    ),
    "A29 a redirect to plain http": (WEIGHTS, Fault(redirect="http://example.com/x"), "S436"),
    "A29 a redirect to a file": (WEIGHTS, Fault(redirect="file:///etc/passwd"), "S436"),
    "A29 a redirect inside": (WEIGHTS, Fault(redirect="http://169.254.169.254/"), "S436"),
}
FAILED = {
    "A8 cut at every 1000 bytes": (WEIGHTS, Fault(cut=1000, **BODY), ("S490", "S498")),
    "A19 no commit": (WEIGHTS, Fault(headers={"X-Repo-Commit": None}), ("S497",)),
    "A20 no ETag": ("bundle.yaml", Fault(headers={"ETag": None}), ("S497",)),
    "A21 a login page for a file": (
        "bundle.yaml",
        Fault(body=b"<html>", headers={"ETag": None, "X-Repo-Commit": None}),
        ("S497",),
    ),
    "A21 a login page for the Hub": ("/info", Fault(body=b"<!doctype html>"), ("S497",)),
    "A22 503 without end": (WEIGHTS, Fault(status=503), ("S495",)),
    "A24 429 for a day": (
        WEIGHTS,
        Fault(status=429, headers={"Retry-After": "86400"}),
        ("S496",),
    ),
}


@pytest.mark.parametrize(("path", "fault", "code"), REFUSED.values(), ids=REFUSED)
def test_what_the_hub_sends_is_refused(hub, pull, hub_home, path, fault, code):
    mirror = served(hub, path, fault)
    messages = pull(3)
    assert f"{code} " in messages
    assert (
        "ann/tiny" in messages
        or "169.254" in messages
        or "example.com" in messages
        or "file:///" in messages
    )
    assert not list(hub_home.glob("hub/**/*.composer-part"))
    assert mirror.sent < 10 * SIZE + 1_000_000, "an endless body is left at the first byte over"
    assert {path.name for path in hub_home.parent.iterdir()} <= {"hf"}


@pytest.mark.parametrize(("path", "fault", "codes"), FAILED.values(), ids=FAILED)
def test_trouble_of_the_network_is_reported_as_such(hub, pull, path, fault, codes):
    mirror = served(hub, path, fault)
    messages = pull(4)
    assert any(f"{code} " in messages for code in codes)
    assert "check your connection" not in messages
    assert mirror.sent < 10 * SIZE


PASSING = {
    "A3 spliced when resumed": [Fault(times=1, cut=900_000, **BODY), Fault(swap=bytes(SIZE))],
    "A7 cut once": [Fault(times=1, cut=900_000, **BODY)],
    "A10 ranges are ignored": [
        Fault(times=1, cut=900_000, **BODY),
        Fault(ranges=False, **BODY),
    ],
    "A11 a range beyond the end": [
        Fault(times=1, cut=900_000, **BODY),
        Fault(times=1, status=416, **BODY),
    ],
    "A23 429 for a moment": [Fault(times=2, status=429, headers={"Retry-After": "0"})],
    "A22 503 for a moment": [Fault(times=2, status=503)],
}


@pytest.mark.parametrize("faults", PASSING.values(), ids=PASSING)
def test_trouble_that_passes(hub, cli, hub_home, faults):
    """After the headers were read, so that the faults meet the download."""
    mirror = served(hub)
    assert cli("check", "ann/tiny")[0] == 0
    mirror.faults[WEIGHTS] = faults
    code, out, err = cli("pull", "ann/tiny")
    assert (code, err) == (0, ""), out
    assert kept(hub_home)[Path(WEIGHTS).name] == FILES[WEIGHTS]


def test_a25_a26_a27_gated_missing_and_no_such_revision(hub, pull, new_process):
    gated, private = Repository(FILES, gated="auto"), Repository(FILES, private=True)
    hub({"ann/tiny": FILES, "ann/gated": gated, "ann/private": private})
    messages = pull(4, "ann/gated")
    assert "S493 " in messages
    assert "accept its terms on" in messages
    assert "`hf auth login`" in messages
    for name in ("ann/none", "ann/private"):
        messages = pull(4, name)
        assert "S491 " in messages
        assert "log in by `hf auth login`" in messages
    assert "S492 " in pull(4, "ann/tiny@v9")


def test_a28_a_token_goes_to_the_hub_alone(hub, cli, monkeypatch):
    mirror = hub({"ann/tiny": Repository(FILES, private=True)}, tokens={"hf_x": ["ann/tiny"]})
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    assert cli("pull", "ann/tiny")[0] == 0
    by_origin = {(one.origin, one.authorized) for one in mirror.requests}
    assert by_origin == {("hub", True), ("store", False)}


def test_a_listing_that_stalls_is_left(hub, pull, monkeypatch):
    served(hub, "/tree", Fault(stall=60))
    monkeypatch.setattr(client, "PER_TRY", 0.5)
    monkeypatch.setattr(listing, "SECONDS", 0.5)
    assert "S494 " in pull(4)


def test_a_listing_is_read_page_by_page(hub):
    """What a row holds beside its file is not kept, and no page is parsed into gigabytes."""
    repository = Repository(FILES)
    row = {"type": "file", "size": 3, "oid": "1" * 40}
    repository.forged += [{**row, "path": f"{n}.json", "more": "x" * 1_000_000} for n in range(40)]
    mirror, commit = hub({"ann/tiny": repository}, page=10), repository.commit()
    tracemalloc.start()
    listed = listing.commit_files("ann/tiny", commit)
    is_downloaded, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(listed), is_downloaded < 25_000_000) == (42, True)

    repository.forged.append({**row, "path": "0.json"})
    with pytest.raises(ComposerError, match=r"S415 ann/tiny lists '0.json' twice"):
        listing.commit_files("ann/tiny", commit)
    repository.forged[:] = [{**row, "path": "BUNDLE.yaml"}]
    mirror.page = 1
    with pytest.raises(ComposerError, match=r"S415 .* which some systems treat as one name"):
        listing.commit_files("ann/tiny", commit)
    mirror.faults["/tree"] = Fault(body=b"[" + b"[]," * 300_000 + b"[]]")
    with pytest.raises(ComposerError, match="S497 "):
        listing.commit_files("ann/tiny", commit)

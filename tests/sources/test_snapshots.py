"""A revision becomes a commit and a listing, or the trouble on the way has its own name."""

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from composer.core.location import Location
from composer.formats import read_config
from composer.sources.hub import (
    Hub,
    HubFiles,
    RequiredFile,
    addresses,
    client,
    download_files,
    is_downloaded,
    listing,
    parse_id,
    snapshot_of,
)
from composer.sources.hub.card import card_of
from mirror import Fault, Repository
from tests.sources.conftest import Seen, needs, refusal, snapshot

FILES = {"bundle.yaml": b"composer: 1\n", "mlx/config.json": b"{}", "mlx/model.safetensors": b"xyz"}


def get(text="ann/tiny"):
    return snapshot(parse_id(text))


def test_a_commit_and_its_files(hub, hub_home):
    mirror = hub({"ann/tiny": FILES}, page=2)
    found = get()
    assert found.commit == mirror.repositories["ann/tiny"].commit()
    assert {path: file.size for path, file in found.files.items()} == {
        "bundle.yaml": 12,
        "mlx/config.json": 2,
        "mlx/model.safetensors": 3,
    }
    assert found.folders == {
        "": ("bundle.yaml", "mlx"),
        "mlx": ("config.json", "model.safetensors"),
    }
    assert found.root == hub_home / "hub/models--ann--tiny/snapshots" / found.commit
    assert str(found) == f"hf:ann/tiny@{found.commit[:7]}"
    assert len(mirror.requests_of("/tree/")) == 2


def test_a_revision_is_asked_for_once(hub, new_process):
    mirror = hub({"ann/tiny": FILES})
    first = get()
    mirror.repositories["ann/tiny"].push({"bundle.yaml": b"other"})
    assert get() is first
    assert len(mirror.requests) == 2
    new_process()
    assert get().commit != first.commit


def test_each_hub_asks_for_itself(hub):
    mirror = hub({"ann/tiny": FILES})
    one, other = Hub(), Hub()
    first = one.snapshot(parse_id("ann/tiny"))
    mirror.repositories["ann/tiny"].push({"bundle.yaml": b"other"})
    assert other.snapshot(parse_id("ann/tiny")).commit != first.commit
    assert one.snapshot(parse_id("ann/tiny")) is first


def test_a_hub_that_is_offline_asks_nothing(hub):
    mirror = hub({"ann/tiny": FILES})
    commit = Hub().snapshot(parse_id("ann/tiny")).commit
    before = dict(os.environ)
    mirror.requests.clear()
    found = Hub(offline=True).snapshot(parse_id("ann/tiny"))
    assert found.commit == commit
    with HubFiles().open(found.location("repo", "mlx/config.json")) as opened:
        assert refusal(opened.read, 0, 2)[0].startswith("S499")
    need = RequiredFile(found, found.files["mlx/config.json"], ("decoder",))
    assert refusal(download_files, [need])[0].startswith("S499")
    assert not card_of(found).was_read
    assert (mirror.requests, dict(os.environ)) == ([], before)


def test_a_commit_that_is_known_is_not_asked_for(hub, new_process):
    mirror = hub({"ann/tiny": FILES})
    commit = get().commit
    new_process()
    mirror.requests.clear()
    assert get(f"ann/tiny@{commit}").commit == commit
    assert mirror.requests == []


def test_locations_below_the_root(hub):
    hub({"ann/tiny": FILES})
    found = get()
    assert snapshot_of(found.location("repo", "mlx/config.json")) == (found, "mlx/config.json")
    assert snapshot_of(found.location("repo") / "mlx" / "config.json")[1] == "mlx/config.json"
    below = Location("repo", "config.json", found.root / "mlx", found)
    assert snapshot_of(below)[1] == "mlx/config.json"
    assert snapshot_of(found.location("repo"))[1] == ""
    # A folder is no part of a repository by where it lies.
    assert snapshot_of(Location("repo", "mlx/config.json", found.root)) is None


def test_a_pinned_commit_counts(hub):
    mirror = hub({"ann/tiny": FILES})
    old = mirror.repositories["ann/tiny"].commit()
    mirror.repositories["ann/tiny"].push({"bundle.yaml": b"other"})
    Seen.hub.pin_commit(parse_id("hf:ann/tiny"), old)
    assert get().commit == old


def test_offline_the_last_commit_counts(hub, new_process):
    mirror = hub({"ann/tiny": FILES})
    first = get()
    new_process(offline=True)
    mirror.requests.clear()
    found = get()
    assert (found.commit, dict(found.files), found.notes) == (first.commit, dict(first.files), ())
    assert mirror.requests == []


def test_without_a_network_the_last_commit_counts_and_it_says_so(hub, new_process):
    mirror = hub({"ann/tiny": FILES})
    first = get()
    new_process()
    mirror.faults["/info"] = Fault(status=503)
    found = get()
    assert found.commit == first.commit
    (note,) = found.notes
    assert (note.code, note.severity) == ("S459", "warning")
    assert note.message.startswith("ann/tiny is read from the cache, at ")


def test_offline_and_never_seen(hub, new_process):
    hub({"ann/tiny": FILES})
    new_process(offline=True)
    assert refusal(get) == [
        "S499 hf:ann/tiny is not in the cache, and HF_HUB_OFFLINE is set\n"
        "    hint: fetch it while online: composer pull"
    ]


def test_blobs_that_repositories_share_are_known_offline(hub, hub_home, new_process):
    """As the Hub's own client keeps what came by Xet: by a hash that is not the file's sha256."""
    from huggingface_hub import snapshot_download

    mirror = hub({"ann/tiny": FILES})
    place = Path(snapshot_download("ann/tiny", cache_dir=hub_home / "hub", endpoint=mirror.url))
    blob = place / "mlx" / os.readlink(place / "mlx/config.json")
    shared = hub_home / "hub" / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(os.path.relpath(shared, blob.parent.resolve()))
    new_process(offline=True)
    assert get().files.keys() == FILES.keys()
    wanted = needs("ann/tiny")
    download_files(wanted)
    assert all(map(is_downloaded, wanted))
    assert read_config(Location("repo", "mlx/config.json", get().root), HubFiles()) == {}


def test_what_another_tool_fetched_is_known_offline(hub, hub_home, new_process):
    from huggingface_hub import snapshot_download

    mirror = hub({"ann/tiny": FILES})
    snapshot_download("ann/tiny", cache_dir=hub_home / "hub", endpoint=mirror.url)
    new_process(offline=True)
    found = get()
    assert found.partial
    assert {path: file.size for path, file in found.files.items()} == {
        path: len(data) for path, data in FILES.items()
    }
    assert needs("ann/tiny", "mlx/model.safetensors")[0].file.algorithm == "sha256"


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (Fault(status=500), "S495", "the server failed (status 500)"),
        (Fault(status=503, times=9), "S495", "status 503"),
        (Fault(status=429), "S496", "too many requests (status 429)"),
        (Fault(status=429, headers={"Retry-After": "86400"}), "S496", "asks to wait 86400 s"),
        (Fault(status=403), "S493", "access is refused (status 403)"),
        (Fault(status=418), "S497", "status 418, which is not expected of the Hub"),
        (Fault(body=b"<html>log in</html>"), "S497", "does not return JSON"),
        (Fault(body=b"[" * 100_000), "S497", "does not return JSON"),
        (Fault(body=b"{}"), "S497", "has no commit"),
        (Fault(body=b'{"sha": "../../x"}'), "S419", "'../../x', which is not a commit"),
        (Fault(body=b'{"sha": "main"}'), "S419", "'main', which is not a commit"),
        (Fault(body=json.dumps({"sha": "0" * 40}).encode()), "S419", "which is not a commit"),
        (Fault(cut=3), "S498", "was interrupted repeatedly"),
        (Fault(redirect="http://example.com/x"), "S436", "'http://example.com/x' is not https"),
        (Fault(redirect="http://127.0.0.1:99999/x"), "S436", "is not a server address"),
        (Fault(redirect="http://[bad/x"), "S436", "is not a server address"),
        (Fault(redirect="/" + "x" * 70_000), "S490", "cannot reach 127.0.0.1"),
        (Fault(redirect="file:///etc/passwd"), "S436", "is not https"),
        (Fault(redirect=f"https://{'a' * 70}.com/x"), "S436", "is not a server address"),
        (Fault(redirect="https://a..b/x"), "S436", "is not a server address"),
        (Fault(redirect="/api/models/ann/tiny/revision/main"), "S436", "more than 6 times"),
        (Fault(endless=1 << 26), "S437", "sends more than the 16777216 bytes"),
    ],
)  # fmt: skip
def test_trouble_with_a_commit_has_a_name(hub, fault, code, message):
    mirror = hub({"ann/tiny": FILES})
    mirror.faults["/info"] = fault
    (found,) = refusal(get)
    assert found.startswith(f"{code} ")
    assert message in found


def test_trouble_that_passes_is_none(hub):
    mirror = hub({"ann/tiny": FILES})
    mirror.faults["/info"] = [Fault(status=503, times=1), Fault(cut=3, times=1)]
    mirror.faults["/tree"] = Fault(status=429, times=2, headers={"Retry-After": "0"})
    assert get().files


def test_trouble_of_two_kinds_in_turn(hub):
    mirror = hub({"ann/tiny": FILES})
    mirror.faults["/info"] = [Fault(status=503, times=2), Fault(redirect="http://127.0.0.1:9/")]
    (found,) = refusal(get)
    assert found.startswith("S490 cannot reach 127.0.0.1:")


def test_a_server_is_waited_for_as_long_as_it_asks(hub, monkeypatch):
    mirror = hub({"ann/tiny": FILES})
    mirror.faults["/info"] = Fault(status=429, headers={"Retry-After": "30"})
    slept = []
    monkeypatch.setattr(client.time, "sleep", slept.append)
    assert refusal(get)[0].startswith("S496 ")
    assert [seconds for seconds in slept if seconds > 1] == [30, 30, 30]


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "localhost."]
)
def test_the_public_hub_points_to_no_inner_network(host):
    home = urlsplit("https://huggingface.co")
    url = f"https://{host}/x"
    (found,) = refusal(addresses.check_address, urlsplit(url), home, url)
    assert found.startswith("S436 ")
    addresses.check_address(urlsplit("https://cdn-lfs.hf.co/x"), home, "")


@pytest.mark.parametrize("stall", [Fault(stall=30), Fault(trickle=(1, 0.05))])
def test_a_hub_that_dribbles_is_left(hub, monkeypatch, stall):
    mirror = hub({"ann/tiny": FILES})
    mirror.faults["/info"] = stall
    monkeypatch.setattr(listing, "SECONDS", 0.3)
    monkeypatch.setattr(client, "PER_TRY", 0.3)
    (found,) = refusal(get)
    assert found.startswith("S494 127.0.0.1")
    assert "does not answer in time" in found


def test_no_such_repository_or_revision(hub, monkeypatch):
    hub({"ann/tiny": FILES}, tokens={"hf_good": []})
    (found,) = refusal(get, "ann/tinny")
    assert found.startswith("S491 ")
    assert "hint: log in by `hf auth login`, or set HF_TOKEN, where it is private" in found
    (found,) = refusal(get, "ann/tiny@v9")
    assert found.startswith("S492 ")


def test_a_private_repository_and_its_token(hub, monkeypatch, new_process):
    private = Repository(FILES, private=True)
    mirror = hub({"ann/tiny": private}, tokens={"hf_good": ["ann/tiny"], "hf_other": []})
    assert refusal(get)[0].startswith("S491 ")
    new_process()
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert get().files
    assert any(request.authorized for request in mirror.requests)


@pytest.mark.parametrize(
    ("row", "code"),
    [({"path": "../x"}, "S415"), ({"path": "bundle.YAML"}, "S415"), ({"oid": "zz"}, "S438")],
)
def test_a_listing_that_is_hostile(hub, row, code):
    repository = Repository(FILES)
    sound = {"type": "file", "path": "more.json", "size": 3, "oid": "1" * 40}
    repository.forged.append({**sound, **row})
    hub({"ann/tiny": repository})
    (found,) = refusal(get)
    assert found.startswith(f"{code} ")


def test_a_listing_without_end(hub, monkeypatch):
    hub({"ann/tiny": FILES}, page=1)
    monkeypatch.setattr(listing, "PAGES", 2)
    assert "its listing has more than 2 pages" in refusal(get)[0]


def test_a_listing_of_too_many_files(hub, monkeypatch):
    hub({"ann/tiny": FILES})
    monkeypatch.setattr(listing, "MOST", 2)
    assert refusal(get)[0].startswith("S416 ann/tiny lists more than 2 files")


@pytest.mark.parametrize("place", ["https://example.com/api", "http://[bad/x", "file:///etc"])
def test_a_next_page_elsewhere(hub, place):
    mirror = hub({"ann/tiny": FILES})
    link = f'<{place}>; rel="next"'
    mirror.faults["/tree"] = Fault(headers={"Link": link})
    assert refusal(get)[0].startswith("S436 ")


def test_no_network(hub_home, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (found,) = refusal(get)
    assert found.startswith("S490 cannot reach 127.0.0.1:9: ")
    assert "hint: check the network; HF_HUB_OFFLINE=1 uses only what is here" in found


@pytest.mark.parametrize(
    "endpoint",
    ["http://example.com", "ftp://x", "https://a:secret@b", "http://a:secret@b", "http://10.0.0.1"],
)
def test_an_endpoint_that_is_not_gone_to(hub_home, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    (found,) = refusal(get)
    assert found.startswith("S436 ")
    assert "secret" not in found


@pytest.mark.parametrize("token", ["hf_\u00e9secret", "hf_\x1bsecret"])
def test_a_token_that_is_none(hub, monkeypatch, token):
    mirror = hub({"ann/tiny": FILES})
    monkeypatch.setenv("HF_TOKEN", token)
    (found,) = refusal(get)
    assert found.startswith("S493 your token has invalid characters")
    assert "secret" not in found
    assert mirror.requests == []

"""The mirror answers as the Hub does: seen by huggingface_hub, and byte by byte."""

import hashlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mirror import Fault, File, Mirror, Repository
from mirror.repository import repositories

WEIGHTS = bytes(range(256)) * 1000
FILES = {
    "README.md": b"---\nlicense: apache-2.0\n---\n# A bundle\n",
    "bundle.yaml": b"composer: 1\n",
    "decoder/model.safetensors": WEIGHTS,
}
ROOT = Path(__file__).parents[2]


def ask(mirror, path, method="GET", follow=True, **headers):
    """Return status, headers and body of a request that no library retries or caches."""
    request = urllib.request.Request(mirror.url + path, headers=headers, method=method)
    opener = urllib.request.build_opener(*([] if follow else [_Stay]))
    try:
        with opener.open(request, timeout=5) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def put(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.mark.parametrize("separate_store", [True, False])
def test_huggingface_hub_downloads_a_snapshot(hub, hub_home, separate_store):
    mirror = hub({"owner/bundle": FILES}, page=2, separate_store=separate_store)
    place = snapshot_download("owner/bundle", cache_dir=hub_home, endpoint=mirror.url)
    commit = mirror.repositories["owner/bundle"].commit()
    assert Path(place).name == commit
    assert {name: (Path(place) / name).read_bytes() for name in FILES} == FILES
    blob = (Path(place) / "decoder/model.safetensors").resolve()
    assert blob.name == hashlib.sha256(WEIGHTS).hexdigest()
    assert len(mirror.requests_of("/tree/")) == 2, "the listing of three files has two pages of two"
    before = len(mirror.requests)
    again = snapshot_download(
        "owner/bundle", revision=commit, cache_dir=hub_home, endpoint=mirror.url
    )
    assert again == place
    assert len(mirror.requests) == before


def test_huggingface_hub_downloads_one_file(hub, hub_home):
    mirror = hub({"owner/bundle": FILES})
    for name in FILES:
        path = hf_hub_download("owner/bundle", name, cache_dir=hub_home, endpoint=mirror.url)
        assert Path(path).read_bytes() == FILES[name]


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub, hub_home):
    repository = Repository({"a.txt": b"old"})
    old = repository.commit()
    repository.push({"a.txt": b"tagged"}, ref="refs/pr/1")
    repository.push({"a.txt": b"new"})
    mirror = hub({"owner/bundle": repository})

    def read(revision):
        path = hf_hub_download(
            "owner/bundle", "a.txt", revision=revision, cache_dir=hub_home, endpoint=mirror.url
        )
        return Path(path).read_bytes()

    assert [read("main"), read(old), read("refs/pr/1")] == [b"new", b"old", b"tagged"]


def test_a_listing_says_sizes_hashes_and_the_licence(hub):
    mirror = hub({"owner/bundle": FILES})
    api = HfApi(endpoint=mirror.url)
    info = api.model_info("owner/bundle", files_metadata=True)
    assert info.card_data.license == "apache-2.0"
    assert info.tags == ["license:apache-2.0"]
    weights = info.siblings[2]
    assert (weights.size, weights.lfs.sha256) == (256_000, hashlib.sha256(WEIGHTS).hexdigest())
    top = api.list_repo_tree("owner/bundle")
    assert [row.path for row in top] == ["README.md", "bundle.yaml", "decoder"]
    inner = list(api.list_repo_tree("owner/bundle", "decoder"))
    assert [row.path for row in inner] == ["decoder/model.safetensors"]


def test_hashes_are_those_of_git(tmp_path):
    path = tmp_path / "note.txt"
    path.write_bytes(b"hello\n")
    assert File.named("note.txt", path).oid == "ce013625030ba8dba906f756967f9e9ca394464a"
    pointer = File.named("model.safetensors", b"hello\n").pointer
    assert pointer == (
        b"version https://git-lfs.github.com/spec/v1\n"
        b"oid sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\nsize 6\n"
    )


def test_lfs_files_are_elsewhere_and_others_are_not(hub):
    mirror = hub({"owner/bundle": FILES})
    commit = mirror.repositories["owner/bundle"].commit()
    path = "/owner/bundle/resolve/main/decoder/model.safetensors"
    status, headers, body = ask(mirror, path, "HEAD", follow=False)
    assert (status, body) == (302, b"")
    assert headers["X-Repo-Commit"] == commit
    assert headers["X-Linked-Size"] == "256000"
    assert headers["X-Linked-Etag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    assert headers["Location"].startswith(mirror.store)
    assert mirror.store != mirror.url
    status, headers, body = ask(mirror, "/owner/bundle/resolve/main/bundle.yaml", follow=False)
    assert (status, body) == (200, b"composer: 1\n")
    assert headers["X-Repo-Commit"] == commit
    assert headers["ETag"] == f'"{File(b"composer: 1" + bytes([10])).etag}"'


@pytest.mark.parametrize(
    ("requested", "status", "messages", "body"),
    [
        ("bytes=0-7", 206, "bytes 0-7/256000", WEIGHTS[:8]),
        ("bytes=255990-", 206, "bytes 255990-255999/256000", WEIGHTS[255_990:]),
        ("bytes=-4", 206, "bytes 255996-255999/256000", WEIGHTS[-4:]),
        ("bytes=255999-999999", 206, "bytes 255999-255999/256000", WEIGHTS[-1:]),
        ("bytes=256000-", 416, "bytes */256000", None),
    ],
)
def test_ranges(hub, requested, status, messages, body):
    mirror = hub({"owner/bundle": FILES})
    answer = ask(mirror, "/owner/bundle/resolve/main/decoder/model.safetensors", Range=requested)
    assert answer[0] == status
    assert answer[1]["Content-Range"] == messages
    assert body is None or answer[2] == body


def test_a_range_of_another_version_gets_the_whole(hub):
    mirror = hub({"owner/bundle": FILES})
    headers = {"Range": "bytes=4-", "If-Range": f'"{"0" * 40}"'}
    status, _, body = ask(mirror, "/owner/bundle/resolve/main/bundle.yaml", **headers)
    assert (status, body) == (200, FILES["bundle.yaml"])


@pytest.mark.parametrize(
    ("repo", "revision", "name", "wanted"),
    [
        ("owner/nothing", "main", "bundle.yaml", RepositoryNotFoundError),
        ("owner/bundle", "v9", "bundle.yaml", RevisionNotFoundError),
        ("owner/bundle", "main", "bundle.yml", RemoteEntryNotFoundError),
        ("owner/gated", "main", "bundle.yaml", GatedRepoError),
        ("owner/private", "main", "bundle.yaml", RepositoryNotFoundError),
    ],
)
def test_what_is_not_there_is_refused_as_on_the_hub(hub, hub_home, repo, revision, name, wanted):
    mirror = hub(
        {
            "owner/bundle": FILES,
            "owner/gated": Repository(FILES, gated="auto"),
            "owner/private": Repository(FILES, private=True),
        }
    )
    with pytest.raises(wanted):
        hf_hub_download(repo, name, revision=revision, cache_dir=hub_home, endpoint=mirror.url)
    assert mirror.requests[-1].status in (401, 404)


def test_a_token_opens_what_it_is_for_and_stays_with_the_hub(hub, hub_home):
    gated, private = Repository(FILES, gated="manual"), Repository(FILES, private=True)
    is_downloaded = {"owner/gated": gated, "owner/private": private}
    mirror = hub(is_downloaded, tokens={"good": is_downloaded, "other": ()})
    api = HfApi(endpoint=mirror.url, token="other")
    assert api.model_info("owner/gated").gated == "manual"
    with pytest.raises(GatedRepoError, match="403"):
        api.hf_hub_download("owner/gated", "bundle.yaml", cache_dir=hub_home)
    with pytest.raises(RepositoryNotFoundError, match="404"):
        api.hf_hub_download("owner/private", "bundle.yaml", cache_dir=hub_home)
    for repo in is_downloaded:
        snapshot_download(repo, token="good", cache_dir=hub_home, endpoint=mirror.url)
    bodies = [request for request in mirror.requests if request.origin == "store"]
    assert len(bodies) == 2
    assert not any(request.authorized for request in bodies)


def test_a_wrong_token_is_no_token(hub):
    mirror = hub({"owner/bundle": FILES}, tokens={"good": ()})
    for token, status in (("Bearer good", 200), ("Bearer bad", 401), ("good", 200)):
        assert ask(mirror, "/api/whoami-v2", Authorization=token)[0] == status
    assert ask(mirror, "/api/whoami-v2")[0] == 401


def test_a_sparse_file_is_never_read_whole(hub, tmp_path):
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(b"head")
        file.truncate(12_000_000_000)
    digest = "ab" * 32
    began = time.monotonic()
    mirror = hub({"owner/bundle": {path.name: File(path, lfs=True, digest=digest)}})
    place = f"/owner/bundle/resolve/main/{path.name}"
    assert ask(mirror, place, Range="bytes=0-7")[2] == b"head\0\0\0\0"
    assert ask(mirror, place, Range="bytes=11999999999-")[2] == b"\0"
    assert time.monotonic() - began < 2
    assert mirror.sent == 9


def test_folders_of_repositories_are_found(tmp_path, hub, hub_home):
    put(tmp_path / "models/owner/bundle", {**FILES, ".git/config": b"[core]\n"})
    secret = tmp_path / "secret"
    secret.write_bytes(b"not yours")
    (tmp_path / "models/owner/bundle/link.txt").symlink_to(secret)
    found = repositories(tmp_path / "models")
    assert set(found["owner/bundle"].files()) == set(FILES)
    mirror = hub(found)
    snapshot_download("owner/bundle", cache_dir=hub_home, endpoint=mirror.url)

    cached = repositories(hub_home)
    assert cached["owner/bundle"].refs["main"] == found["owner/bundle"].commit()
    for name, file in cached["owner/bundle"].files().items():
        assert (file.digest, file.oid) == (
            found["owner/bundle"].files()[name].etag,
            found["owner/bundle"].files()[name].oid,
        )


def test_the_command_serves_a_folder(tmp_path):
    put(tmp_path / "owner/bundle", FILES)
    command = [sys.executable, "-m", "mirror", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            listed, endpoint = process.stdout.readline(), process.stdout.readline().strip()
            assert listed.split()[0] == "owner/bundle@main"
            url = endpoint.removeprefix("HF_ENDPOINT=")
            place = f"{url}/owner/bundle/resolve/main/decoder/model.safetensors"
            with urllib.request.urlopen(place, timeout=5) as answer:
                assert answer.read() == WEIGHTS
                assert answer.url.startswith(url), "one port serves all, so a proxy is easy"
        finally:
            process.terminate()


@pytest.mark.parametrize("files", [{}, {"README.md": b""}])
def test_the_command_refuses_a_folder_without_repositories(tmp_path, files):
    put(tmp_path, files)
    command = [sys.executable, "-m", "mirror", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "has neither owner/name/files" in done.stderr


@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")
def test_huggingface_hub_uploads_a_folder(hub, hub_home, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    put(tmp_path / "made", FILES)
    mirror = hub({}, tokens={"good": ["ann/new"], "other": []})
    api = HfApi(endpoint=mirror.url, token="good")
    api.create_repo("ann/new", private=True)
    made = api.upload_folder(repo_id="ann/new", folder_path=tmp_path / "made")
    assert made.oid == mirror.repositories["ann/new"].commit()
    place = snapshot_download("ann/new", token="good", cache_dir=hub_home, endpoint=mirror.url)
    assert {name: (Path(place) / name).read_bytes() for name in FILES} == FILES
    api.delete_file("bundle.yaml", "ann/new")
    assert set(mirror.repositories["ann/new"].files()) == FILES.keys() - {"bundle.yaml"}
    for token, status in (("other", 403), (False, 401)):
        with pytest.raises(HfHubHTTPError, match=str(status)):
            HfApi(endpoint=mirror.url, token=token).delete_file("README.md", "ann/new")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("ann/new")


SMALL, LARGE = "bundle.yaml", "decoder/model.safetensors"


def faulty(hub, name, *faults):
    mirror = hub({"owner/bundle": FILES})
    mirror.faults[name] = list(faults)
    return mirror, f"/owner/bundle/resolve/main/{name}"


def test_a_corrupt_byte_keeps_size_and_etag(hub):
    mirror, path = faulty(hub, LARGE, Fault(corrupt=True))
    _, headers, body = ask(mirror, path)
    assert sum(one != other for one, other in zip(body, WEIGHTS, strict=True)) == 1
    assert headers["ETag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    assert ask(mirror, path, Range="bytes=0-99")[2] == WEIGHTS[:100]


def test_a_body_is_truncated_cut_longer_or_endless(hub):
    mirror, path = faulty(hub, SMALL, Fault(truncate=3))
    assert ask(mirror, path)[2] == b"com"
    mirror.faults[SMALL] = Fault(cut=3)
    with pytest.raises(Exception, match="3 bytes read, 9 more expected"):
        ask(mirror, path)
    mirror.faults[SMALL] = Fault(longer=4)
    assert ask(mirror, path)[2] == FILES[SMALL] + bytes(4)
    mirror.faults[SMALL] = Fault(endless=3_000_000)
    status, headers, body = ask(mirror, path)
    assert (status, headers["Content-Length"], len(body)) == (200, None, 3_000_000)


def test_headers_are_changed_and_left_out(hub):
    lies = {"ETag": '"../../x"', "X-Repo-Commit": None, "Content-Length": "5"}
    mirror, path = faulty(hub, SMALL, Fault(headers=lies, methods=("HEAD",)))
    _, headers, _ = ask(mirror, path, "HEAD")
    assert [headers[name] for name in lies] == ['"../../x"', None, "5"]
    assert ask(mirror, path)[2] == FILES[SMALL]


def test_a_status_so_many_times(hub):
    limit = Fault(times=2, status=429, headers={"Retry-After": "3"})
    mirror, path = faulty(hub, SMALL, limit, Fault(times=1, status=500))
    answers = [ask(mirror, path) for _ in range(4)]
    assert [status for status, _, _ in answers] == [429, 429, 500, 200]
    assert answers[0][1]["Retry-After"] == "3"


def test_a_redirect_and_a_page_instead(hub):
    mirror, path = faulty(hub, LARGE, Fault(redirect="http://example.invalid/x"))
    status, headers, _ = ask(mirror, path, follow=False)
    assert (status, headers["Location"]) == (302, "http://example.invalid/x")
    mirror.faults[LARGE] = Fault(body=b"<html>", headers={"Location": None})
    assert ask(mirror, path)[::2] == (200, b"<html>")


def test_ranges_are_ignored_or_are_of_another_file(hub):
    mirror, path = faulty(hub, LARGE, Fault(ranges=False))
    status, _, body = ask(mirror, path, Range="bytes=9-")
    assert (status, body) == (200, WEIGHTS)
    mirror.faults[LARGE] = Fault(swap=bytes(256_000))
    assert ask(mirror, path, Range="bytes=9-99")[2] == bytes(91)
    assert ask(mirror, path)[2] == WEIGHTS


def test_a_server_stalls_and_trickles(hub):
    mirror, path = faulty(hub, SMALL, Fault(stall=0.2, trickle=(6, 0.1)))
    began = time.monotonic()
    assert ask(mirror, path)[2] == FILES[SMALL]
    assert time.monotonic() - began > 0.3


def test_listings_are_faulty_too(hub):
    mirror = hub({"owner/bundle": FILES})
    mirror.faults["/info"] = Fault(body=b'{"id": "owner/bundle", "sha": "../../x"}')
    mirror.repositories["owner/bundle"].forged.append({"type": "file", "path": "../x", "size": 1})
    assert json.loads(ask(mirror, "/api/models/owner/bundle")[2])["sha"] == "../../x"
    rows = json.loads(ask(mirror, "/api/models/owner/bundle/tree/main?recursive=true")[2])
    assert rows[-1]["path"] == "../x"


def test_only_this_machine_is_served():
    with Mirror({}) as mirror:
        assert [server.server_address[0] for server in mirror._servers] == ["127.0.0.1"] * 2

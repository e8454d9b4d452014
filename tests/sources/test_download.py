"""A file of the Hub is here whole and verified, or it is not here."""

import hashlib
import os
import shutil
import threading
from pathlib import Path

import pytest

from composer.sources.hub import (
    RequiredFile,
    download,
    download_files,
    is_downloaded,
    parse_id,
    transfer,
)
from composer.sources.hub.partial_download import PartialDownload
from mirror import Fault, File, Repository
from tests.sources.conftest import needs, refusal, snapshot
from tests.sources.downloading import BIG, FILES, WEIGHTS, _process, blobs, sent


def test_files_come_into_the_cache_of_hugging_face(hub, hub_home):
    from huggingface_hub import try_to_load_from_cache

    mirror = hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny", "mlx/config.json", BIG)
    assert not any(map(is_downloaded, wanted))
    done = download_files(wanted)
    assert (done.files, done.bytes) == (2, len(WEIGHTS) + 23)
    assert all(map(is_downloaded, wanted))
    found = try_to_load_from_cache("ann/tiny", BIG, cache_dir=hub_home / "hub")
    assert Path(found).read_bytes() == WEIGHTS
    assert Path(found).is_symlink()
    assert blobs(hub_home) == sorted(need.file.digest for need in wanted)
    assert not list(hub_home.rglob("*.py"))
    mirror.requests.clear()
    assert download_files(wanted).files == 0
    assert mirror.requests == []


def test_a_file_of_another_tool_is_verified_once_and_kept(hub, hub_home, monkeypatch):
    from huggingface_hub import snapshot_download

    mirror = hub({"ann/tiny": FILES})
    snapshot_download("ann/tiny", cache_dir=hub_home / "hub", endpoint=mirror.url)
    wanted = needs("ann/tiny", BIG)
    before = sent(mirror, "safetensors")
    assert not is_downloaded(wanted[0])
    download_files(wanted)
    assert is_downloaded(wanted[0])
    assert sent(mirror, "safetensors") == before
    read = []
    monkeypatch.setattr(transfer, "digest_of", lambda *given: read.append(given))
    download_files(wanted)
    assert read == []


def test_a_file_that_another_tool_left_wrong_is_fetched_again(hub, hub_home):
    from huggingface_hub import snapshot_download

    mirror = hub({"ann/tiny": FILES})
    root = snapshot_download("ann/tiny", cache_dir=hub_home / "hub", endpoint=mirror.url)
    blob = (Path(root) / BIG).resolve()
    blob.write_bytes(b"x" + WEIGHTS[1:])
    download_files(needs("ann/tiny", BIG))
    assert blob.read_bytes() == WEIGHTS


def test_offline_a_file_that_is_wrong_is_refused_as_such(hub, hub_home, new_process):
    hub({"ann/tiny": FILES})
    download_files(needs("ann/tiny", BIG))
    (blob,) = (path for path in hub_home.glob("hub/*/blobs/*") if path.stat().st_size > 99)
    blob.write_bytes(b"x" + WEIGHTS[1:])
    new_process(offline=True)
    (found,) = refusal(download_files, needs("ann/tiny", BIG))
    assert found == (
        f"S418 ann/tiny/{BIG} in the cache does not match the listing\n"
        "    hint: download it again while online: composer pull"
    )
    blob.write_bytes(WEIGHTS)
    download_files(needs("ann/tiny", BIG))


def test_a_file_that_changes_later_is_not_trusted(hub, hub_home):
    hub({"ann/tiny": FILES})
    (need,) = needs("ann/tiny", BIG)
    download_files([need])
    blob = need.snapshot.blob(need.file)
    blob.write_bytes(b"x" + WEIGHTS[1:])
    assert not is_downloaded(need)
    download_files([need])
    assert blob.read_bytes() == WEIGHTS


def test_a_change_is_seen_though_the_time_is_set_back(hub, hub_home):
    hub({"ann/tiny": FILES})
    (need,) = needs("ann/tiny", BIG)
    download_files([need])
    blob = need.snapshot.blob(need.file)
    before = blob.stat()
    with blob.open("r+b") as file:
        file.write(b"x" * 9)
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not is_downloaded(need)
    download_files([need])
    assert blob.read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("path", "fault", "code", "message"),
    [
        (BIG, Fault(corrupt=True), "S418", "sha256 is "),
        ("mlx/config.json", Fault(corrupt=True), "S418", "git is "),
        (BIG, Fault(truncate=100), "S419", "the answer has 100 bytes; expected 2621440"),
        (BIG, Fault(longer=10), "S419", "the answer has 2621450 bytes; expected 2621440"),
        (BIG, Fault(endless=1 << 30, origins=("store",)), "S437", "more than the 2621440 bytes"),
        (BIG, Fault(headers={"ETag": "../../../../X", "X-Linked-Etag": "../../../../X"}),
         "S419", "its ETag '../../../../X' is not a digest"),
        (BIG, Fault(headers={"X-Linked-Etag": '"' + "0" * 64 + '"'}), "S419", "its digest is 0000"),
        (BIG, Fault(headers={"X-Repo-Commit": "main"}), "S419", "is for the commit 'main'"),
        (BIG, Fault(headers={"X-Repo-Commit": "0" * 40}), "S419", "is for the commit '0000"),
        (BIG, Fault(headers={"X-Linked-Size": "5"}), "S419", "it has 5 bytes, but the listing"),
        ("mlx/config.json", Fault(headers={"ETag": None}), "S497", "no ETag"),
        (BIG, Fault(headers={"X-Repo-Commit": None}), "S497", "no X-Repo-Commit"),
        (BIG, Fault(redirect="http://example.com/x", origins=("hub",)), "S436", "is not https"),
        (BIG, Fault(redirect="http://169.254.169.254/x"), "S436", "is not https"),
        (BIG, Fault(status=404, origins=("store",)), "S495", "refuses"),
        (BIG, Fault(status=503), "S495", "status 503"),
        (BIG, Fault(cut=1000), "S498", "was interrupted repeatedly, at 5000 of 2621440 bytes"),
    ],
)  # fmt: skip
def test_what_is_not_the_file_is_refused_and_not_kept(hub, hub_home, path, fault, code, message):
    mirror = hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny", path)
    mirror.faults[path] = fault
    (found,) = refusal(download_files, wanted)
    assert found.startswith(f"{code} ")
    assert message in found
    left = ["composer-part"] if code == "S498" else []
    assert [name.partition(".")[2] for name in blobs(hub_home)] == left
    assert not list(hub_home.glob("hub/models--*/snapshots/*/*"))
    assert not is_downloaded(wanted[0])
    assert sum(request.sent for request in mirror.requests) < 20_000_000
    mirror.faults.clear()
    download_files(wanted)
    assert is_downloaded(wanted[0])


def test_a_corrupt_file_is_fetched_once_more(hub):
    mirror = hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny", BIG)
    mirror.faults[BIG] = Fault(corrupt=True, times=1, origins=("store",))
    download_files(wanted)
    assert is_downloaded(wanted[0])
    assert sent(mirror, "/store/") == 2 * len(WEIGHTS)


def test_the_token_goes_to_the_hub_alone(hub, monkeypatch):
    mirror = hub({"ann/tiny": Repository(FILES, gated="auto")}, tokens={"hf_good": ["ann/tiny"]})
    wanted = needs("ann/tiny", BIG)
    (found,) = refusal(download_files, wanted)
    assert found.startswith("S493 ")
    assert f"hint: accept its terms on {mirror.url}/ann/tiny, then log in" in found
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    mirror.requests.clear()
    download_files(wanted)
    assert {request.authorized for request in mirror.requests_of("/resolve/")} == {True}
    assert {request.authorized for request in mirror.requests_of("/store/")} == {False}


def test_a_budget_of_files_and_bytes(hub, monkeypatch):
    hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny")
    monkeypatch.setattr(download, "MOST_FILES", 3)
    (found,) = refusal(download_files, wanted)
    assert found.startswith("S416 the bundle needs 4 files of ")
    monkeypatch.setattr(download, "MOST_FILES", 9)
    monkeypatch.setattr(download, "MOST_BYTES", 1000)
    assert refusal(download_files, wanted)[0].startswith("S416 ")


def test_no_room_is_known_before(hub, hub_home, monkeypatch):
    mirror = hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny", BIG)
    mirror.requests.clear()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    (found,) = refusal(download_files, wanted)
    assert found.startswith(
        f"S439 there is not enough space in {hub_home / 'hub'}: 0.00262 GB needed"
    )
    assert "hint: free some space (composer cache lists what is there)" in found
    assert mirror.requests == []


def test_a_disk_that_fills_up_leaves_nothing(hub, hub_home, monkeypatch):
    hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny", BIG)
    add = PartialDownload.add

    def full(self, chunk):
        add(self, chunk)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PartialDownload, "add", full)
    (found,) = refusal(download_files, wanted)
    assert found.startswith("S439 there is not enough space in ")
    assert blobs(hub_home) == []
    monkeypatch.setattr(PartialDownload, "add", add)
    download_files(wanted)
    assert is_downloaded(wanted[0])


def test_a_cache_that_cannot_be_written(hub, hub_home):
    hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny", BIG)
    (hub_home / "hub").mkdir(parents=True, exist_ok=True)
    (hub_home / "hub" / ".locks").write_text("in the way")
    (found,) = refusal(download_files, wanted)
    assert found.startswith(f"S439 ann/tiny/{BIG} cannot be stored in {hub_home / 'hub'}: ")


def test_two_names_of_one_content(hub):
    hub({"ann/tiny": {"a.safetensors": WEIGHTS, "b.safetensors": WEIGHTS}})
    wanted = needs("ann/tiny")
    download_files(wanted)
    assert all(map(is_downloaded, wanted))


def test_several_at_once_are_one_download(hub):
    mirror = hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny", BIG)
    mirror.faults[BIG] = Fault(trickle=(1 << 18, 0.01), origins=("store",))
    threads = [threading.Thread(target=download_files, args=(wanted,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_downloaded(wanted[0])
    assert sent(mirror, "/store/") == len(WEIGHTS)


@pytest.mark.slow
def test_four_processes_are_one_download(hub):
    mirror = hub({"ann/tiny": FILES})
    mirror.faults[BIG] = Fault(trickle=(1 << 18, 0.2), origins=("store",))
    processes = [_process(BIG) for _ in range(4)]
    messages = [process.communicate(timeout=120)[0].split()[-1] for process in processes]
    assert sent(mirror, "/store/") == len(WEIGHTS)
    assert set(messages) <= {"0", "1"}


def test_a_large_file_is_hashed_as_it_comes(hub, hub_home):
    hub({"ann/tiny": Repository({"x.safetensors": File(WEIGHTS, True)})})
    (need,) = needs("ann/tiny")
    assert need.file.digest == hashlib.sha256(WEIGHTS).hexdigest()
    download_files([need])
    assert isinstance(need, RequiredFile)
    assert snapshot(parse_id("ann/tiny")).blob(need.file).read_bytes() == WEIGHTS

"""Group A: a hostile or failing Hub, and hostile names, seen from the command line."""

import json
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from composer.core.errors import ComposerError
from composer.sources.hub import client, download, listing
from mirror import Fault, File, Repository
from tests.hostile.making import STACK

WEIGHTS = "w/model.safetensors"
BIG = np.random.default_rng(1).normal(size=(100_000, 4)).astype(np.float32)
FILES = {
    "bundle.yaml": STACK.replace("WEIGHTS", WEIGHTS).encode(),
    WEIGHTS: save({"0.weight": BIG}),
}
SIZE = len(FILES[WEIGHTS])
ZEROS = "0" * 40
BUDGET = 60.0  # seconds, on a machine that does much else
PULL = "import sys; from composer.cli import main; sys.exit(main(['pull', 'ann/tiny']))"


def kept(home):
    """Return the files in the cache that have a name by which something would load them."""
    links = [path for path in (home / "hub").glob("models--*/snapshots/**/*") if path.is_file()]
    return {path.name: path.read_bytes() for path in links}


@pytest.fixture
def pull(cli, hub_home):
    """Pull a bundle that is refused; return the words. Nothing that is wrong is kept."""

    def call(code, name="ann/tiny", *arguments, command="pull"):
        began = time.perf_counter()
        got, out, err = cli(command, name, *arguments)
        assert time.perf_counter() - began < BUDGET
        assert got == code, out + err
        assert "Traceback" not in err
        sound = kept(hub_home).items() <= {Path(k).name: v for k, v in FILES.items()}.items()
        assert sound
        return err

    return call


def served(hub, path=WEIGHTS, *faults, **options):
    mirror = hub({"ann/tiny": FILES}, **options)
    mirror.faults[path] = list(faults)
    return mirror


def test_the_bundle_itself_is_sound(hub, cli, hub_home):
    served(hub)
    assert cli("pull", "ann/tiny")[0] == 0
    assert kept(hub_home)[Path(WEIGHTS).name] == FILES[WEIGHTS]


STORE = {"origins": ("store",)}
BODY = {"methods": ("GET",), **STORE}
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
def test_trouble_of_the_network_is_told_as_such(hub, pull, path, fault, codes):
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


NAMES = {
    "A30 up": "../x.json",
    "A31 absolute": "/abs.json",
    "A32 up from inside": "a/../../x.json",
    "A33 a drive": "C:\\x.json",
    "A34 backslashes": "a\\..\\b.json",
    "A35 a share": "\\\\host\\x.json",
    "A36 an empty part": "a//b.json",
    "A37 a device of Windows": "CON",
    "A38 a line break": "x\ny.json",
    "A39 300 bytes": "x" * 300,
    "A40 no name": "",
    "A41 a folder": "dir/",
    "A42 a tool's own": ".cache/huggingface/x",
    "A44 only the case differs": "BUNDLE.yaml",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_that_could_harm_are_refused(hub, pull, hub_home, name):
    repository = Repository(FILES)
    repository.forged.append({"type": "file", "path": name, "size": 3, "oid": "1" * 40})
    hub({"ann/tiny": repository})
    assert "S415 " in pull(3)
    assert kept(hub_home) == {}


def test_a43_names_that_differ_in_their_normal_form(hub, pull, cli, new_process):
    one, two = "\u00e9.json", "e\u0301.json"
    row = {"type": "file", "size": 3, "oid": "1" * 40}
    repository = Repository(FILES)
    repository.forged.append({**row, "path": one})
    mirror = hub({"ann/tiny": repository})
    assert cli("check", "ann/tiny")[0] == 0, "one name beyond ASCII is fine"
    repository.push({**FILES, "more.txt": b"another commit"})
    repository.forged.append({**row, "path": two})
    new_process()
    assert "which some systems treat as one name" in pull(3)
    assert mirror.sent


def test_a45_a_hundred_thousand_files(hub, pull):
    repository = Repository(FILES)
    row = {"type": "file", "size": 3, "oid": "1" * 40}
    repository.forged += [{**row, "path": f"{n}.json"} for n in range(100_000)]
    hub({"ann/tiny": repository})
    assert "S416 ann/tiny lists more than 20000 files" in pull(3)


def test_a46_a_terabyte(hub, cli, tmp_path):
    header = json.dumps(
        {"0.weight": {"dtype": "F32", "shape": [500_000_000_000 // 4, 2],
                      "data_offsets": [0, 10**12]}}
    ).encode()  # fmt: skip
    header = header.replace(b"[125000000000, 2]", b"[500000000, 500]")
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 10**12)
    manifest = FILES["bundle.yaml"].replace(b"N 4", b"N 500")
    huge = File(path, lfs=True, digest="ab" * 32)
    mirror = hub({"ann/tiny": {"bundle.yaml": manifest, WEIGHTS: huge}})
    assert cli("check", "ann/tiny")[0] == 0
    code, _, err = cli("pull", "ann/tiny")
    assert (code, mirror.sent < 1_000_000) == (3, True)
    assert "S416 the bundle needs 1 files of 1000 GB" in err
    path.unlink()


def test_a47_a_large_repository_of_which_little_is_needed(hub, cli, hub_home):
    others = {f"other/{n}.json": b"{}" for n in range(2498)}
    mirror = hub({"ann/tiny": {**FILES, **others}})
    assert cli("pull", "ann/tiny")[0] == 0
    assert len(mirror.requests_of("/tree/")) == 3
    assert set(kept(hub_home)) == {"bundle.yaml", Path(WEIGHTS).name}


@pytest.mark.parametrize(
    "name",
    ["hf:../x", "hf:org/a--b", "hf:https://huggingface.co/ann/tiny", "hf:a/b/c", "hf:ann/tiny.git"],
)
def test_a48_a49_a50_ids(hub, pull, name):
    mirror = hub({"ann/tiny": FILES})
    assert "S414 " in pull(3, name)
    assert mirror.requests == []


@pytest.mark.parametrize("revision", ["../../x", "a\0b", "/etc", "a b", "-x", "a..b", ""])
def test_a51_a52_revisions(hub, pull, revision, hub_home):
    mirror = hub({"ann/tiny": FILES})
    assert "S414 " in pull(3, f"hf:ann/tiny@{revision}")
    assert mirror.requests == []
    assert not list(hub_home.glob("hub/*"))


@pytest.mark.parametrize("ref", ["main", "v1"], ids=["A53 a branch", "A54 a tag"])
def test_what_a_name_points_to_moves(hub, cli, hub_home, new_process, tmp_path, ref):
    """A locked bundle keeps its commit, and is refused where that is gone."""
    repository = Repository()
    old = repository.push(FILES, ref=ref)
    hub({"ann/tiny": repository})
    folder = tmp_path / "mine"
    folder.mkdir()
    text = FILES["bundle.yaml"].replace(b"./", b"hf:ann/tiny@" + ref.encode())
    (folder / "bundle.yaml").write_bytes(text)
    assert cli("lock", folder)[0] == 0
    moved = {**FILES, WEIGHTS: save({"0.weight": BIG + 1})}
    new = repository.push(moved, ref=ref)
    new_process()
    assert cli("pull", folder)[0] == 0
    assert kept(hub_home)[Path(WEIGHTS).name] == FILES[WEIGHTS]

    shutil.rmtree(hub_home)
    repository.commits = {new: repository.commits[new]}
    new_process()
    code, _, err = cli("pull", folder)
    assert code in (3, 4)
    assert "S492 " in err
    assert kept(hub_home) == {}

    repository.commits[old] = repository.commits[new]
    new_process()
    code, _, err = cli("pull", folder)
    assert code == 3
    assert f"{WEIGHTS}" in err
    assert kept(hub_home) == {}


def test_a55_a56_offline(hub, cli, pull, new_process, hub_home):
    mirror = hub({"ann/tiny": FILES})
    assert cli("check", "ann/tiny")[0] == 0
    new_process(offline=True)
    mirror.requests.clear()
    messages = pull(4)
    assert "S499 " in messages
    assert WEIGHTS in messages
    os.environ.pop("HF_HUB_OFFLINE")
    new_process()
    assert cli("pull", "ann/tiny")[0] == 0
    new_process(offline=True)
    mirror.requests.clear()
    assert cli("pull", "ann/tiny")[0] == 0
    assert mirror.requests == []


def _pulling():
    return subprocess.Popen(
        [sys.executable, "-c", PULL], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_a9_killed_in_the_middle_it_goes_on(hub, cli, hub_home):
    mirror = served(hub, WEIGHTS)
    assert cli("check", "ann/tiny")[0] == 0
    mirror.faults[WEIGHTS] = Fault(trickle=(1 << 16, 0.1), **BODY)
    process, deadline = _pulling(), time.monotonic() + 120
    parts = []
    while time.monotonic() < deadline and not (parts and parts[0].stat().st_size > 1 << 17):
        time.sleep(0.01)
        parts = list(hub_home.glob("hub/**/*.composer-part"))
    process.kill()
    process.communicate()
    got = parts[0].stat().st_size
    assert 0 < got < SIZE
    assert WEIGHTS not in kept(hub_home)
    mirror.faults.clear()
    mirror.requests.clear()
    assert cli("pull", "ann/tiny")[0] == 0
    assert kept(hub_home)[Path(WEIGHTS).name] == FILES[WEIGHTS]
    assert mirror.requests_of("/store/")[-1].range == f"bytes={got}-"
    assert mirror.sent < SIZE - got + 10_000
    assert not list(hub_home.glob("hub/**/*.composer-part"))


@pytest.mark.slow
def test_a57_four_processes_are_one_download(hub, hub_home):
    mirror = served(hub, WEIGHTS, Fault(trickle=(1 << 17, 0.1), **BODY))
    processes = [_pulling() for _ in range(4)]
    for process in processes:
        out, err = process.communicate(timeout=180)
        assert process.returncode == 0, out + err
    whole = [one for one in mirror.requests_of("/store/") if one.sent == SIZE]
    assert len(whole) == 1
    assert kept(hub_home)[Path(WEIGHTS).name] == FILES[WEIGHTS]


def test_a58_a_cache_that_cannot_be_written_is_still_read(
    hub, cli, hub_home, new_process, monkeypatch
):
    """Permissions mean nothing to root, so writing itself fails here."""
    hub({"ann/tiny": FILES})
    assert cli("pull", "ann/tiny")[0] == 0
    new_process()

    def denied(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    for name in ("mkdir", "write_text", "write_bytes", "symlink_to", "replace", "touch"):
        monkeypatch.setattr(Path, name, denied)
    assert cli("pull", "ann/tiny")[0] == 0


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """Mount a file system of one megabyte; only root may."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here; test_download.py simulates a full one")
    monkeypatch.setenv("HF_HOME", str(place))
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a59_a_disk_that_is_full(hub, cli, small_disk, monkeypatch):
    hub({"ann/tiny": FILES})
    messages = cli("pull", "ann/tiny")
    assert messages[0] == 3
    assert (
        f"S439 there is not enough space in {small_disk / 'hub'}: 0.0016 GB needed" in messages[2]
    )
    # Another process may take the room after it was looked for.
    monkeypatch.setattr(download, "free_space", lambda _: None)
    code, _, err = cli("pull", "ann/tiny")
    assert code == 3
    assert "S439 there is not enough space in " in err
    assert not [
        path for path in small_disk.rglob("*") if path.is_file() and path.stat().st_size > 1e5
    ]


def test_a60_a_link_planted_in_the_cache_is_not_written_through(hub, cli, hub_home, tmp_path):
    mirror = hub({"ann/tiny": FILES})
    commit = mirror.repositories["ann/tiny"].commit()
    outside = tmp_path / "outside"
    outside.mkdir()
    root = hub_home / "hub" / "models--ann--tiny" / "snapshots" / commit
    root.mkdir(parents=True)
    (root / "w").symlink_to(outside)
    code, _, err = cli("pull", "ann/tiny")
    assert list(outside.iterdir()) == []
    assert code == 3
    assert f"S439 {root / 'w'} is a link that leads out of the cache" in err


def test_a61_a_git_lfs_pointer_in_place_of_weights(hub, pull):
    pointer = File.named(WEIGHTS, FILES[WEIGHTS]).pointer
    hub({"ann/tiny": {**FILES, WEIGHTS: File(pointer)}})
    messages = pull(3)
    assert f"S404 repo/{WEIGHTS}: is a Git LFS pointer" in messages
    assert "git lfs pull" in messages


def test_a_listing_that_stalls_is_left(hub, pull, monkeypatch):
    served(hub, "/tree", Fault(stall=60))
    monkeypatch.setattr(client, "PER_TRY", 0.5)
    monkeypatch.setattr(listing, "SECONDS", 0.5)
    assert "S494 " in pull(4)


def test_a_listing_is_held_page_by_page(hub):
    """What a row holds beside its file is not kept, and no page is parsed into gigabytes."""
    repository = Repository(FILES)
    row = {"type": "file", "size": 3, "oid": "1" * 40}
    repository.forged += [{**row, "path": f"{n}.json", "more": "x" * 1_000_000} for n in range(40)]
    mirror, commit = hub({"ann/tiny": repository}, page=10), repository.commit()
    tracemalloc.start()
    listed = listing.listing("ann/tiny", commit)
    is_downloaded, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(listed), is_downloaded < 25_000_000) == (42, True)

    repository.forged.append({**row, "path": "0.json"})
    with pytest.raises(ComposerError, match=r"S415 ann/tiny lists '0.json' twice"):
        listing.listing("ann/tiny", commit)
    repository.forged[:] = [{**row, "path": "BUNDLE.yaml"}]
    mirror.page = 1
    with pytest.raises(ComposerError, match=r"S415 .* which some systems treat as one name"):
        listing.listing("ann/tiny", commit)
    mirror.faults["/tree"] = Fault(body=b"[" + b"[]," * 300_000 + b"[]]")
    with pytest.raises(ComposerError, match="S497 "):
        listing.listing("ann/tiny", commit)

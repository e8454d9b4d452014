"""Group A: what interrupts, fills or plants a link in the cache."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from composer.sources.hub import download
from mirror import Fault, File
from tests.hostile.hub_files import BODY, FILES, SIZE, WEIGHTS, kept, pull, served

__all__ = ["pull"]

PULL = "import sys; from composer.cli import main; sys.exit(main(['pull', 'ann/tiny']))"


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

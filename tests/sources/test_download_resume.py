"""A download that broke off goes on where it can, and is left where it cannot."""

import os
import signal
import time

import pytest

from composer.sources.hub import (
    client,
    download,
    download_files,
    is_downloaded,
    parse_id,
    transfer,
)
from mirror import Fault
from tests.sources.conftest import needs, refusal, snapshot
from tests.sources.downloading import BIG, FILES, WEIGHTS, _process, sent


def test_a_cut_download_goes_on_where_it_broke_off(hub):
    mirror = hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny", BIG)
    mirror.faults[BIG] = Fault(cut=1 << 20, times=2, origins=("store",))
    download_files(wanted)
    assert is_downloaded(wanted[0])
    assert sent(mirror, "/store/") == len(WEIGHTS)
    ranges = [request.range for request in mirror.requests_of("/store/")]
    assert ranges == [None, "bytes=1048576-", "bytes=2097152-"]


def test_a_download_goes_on_in_the_next_run(hub, hub_home, new_process):
    mirror = hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny", BIG)
    mirror.faults[BIG] = Fault(cut=300_000, origins=("store",))
    (found,) = refusal(download_files, wanted)
    assert found.startswith("S498 ")
    assert "hint: run it again: the download resumes" in found
    new_process()
    mirror.faults.clear()
    mirror.requests.clear()
    download_files(needs("ann/tiny", BIG))
    assert sent(mirror, "/store/") == len(WEIGHTS) - 1_500_000


@pytest.mark.parametrize("fault", [Fault(ranges=False), Fault(swap=b"y" * len(WEIGHTS))])
def test_a_part_that_cannot_be_continued_is_begun_again(hub, fault):
    mirror = hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny", BIG)
    mirror.faults[BIG] = [Fault(cut=1 << 20, times=1, origins=("store",)), fault]
    download_files(wanted)
    assert is_downloaded(wanted[0])


def test_a_server_that_ignores_ranges_and_breaks_off(hub):
    """What is begun again is hashed from its own beginning."""
    mirror = hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny", BIG)
    first = Fault(cut=1 << 20, times=1, origins=("store",))
    mirror.faults[BIG] = [first, Fault(cut=1 << 20, ranges=False, times=2, origins=("store",))]
    download_files(wanted)
    assert is_downloaded(wanted[0])
    assert sent(mirror, "/store/") == (1 << 20) * 3 + len(WEIGHTS) - (1 << 20)


def test_a_server_that_never_lets_a_download_go_on_is_left(hub):
    """Each beginning has enough to be tried again, and nothing of it is ever continued."""
    mirror = hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny", BIG)
    cut = {"times": 1, "cut": 2 << 20, "origins": ("store",)}
    again = {"times": 1, "status": 416, "origins": ("store",)}
    mirror.faults[BIG] = [fault for _ in range(9) for fault in (Fault(**cut), Fault(**again))]
    (found,) = refusal(download_files, wanted)
    assert found.startswith("S498 ")


def test_a_part_that_is_too_long_is_dropped(hub, hub_home):
    hub({"ann/tiny": FILES})
    (need,) = needs("ann/tiny", BIG)
    part = transfer.part_of(need.snapshot, need.file)
    part.parent.mkdir(parents=True)
    part.write_bytes(WEIGHTS + b"more")
    download_files([need])
    assert is_downloaded(need)


def test_a_part_of_something_else_is_found_out(hub, hub_home):
    hub({"ann/tiny": FILES})
    (need,) = needs("ann/tiny", BIG)
    part = transfer.part_of(need.snapshot, need.file)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"z" * 1000)
    download_files([need])
    assert is_downloaded(need)


def test_a_server_that_dribbles_is_left(hub, hub_home, monkeypatch):
    mirror = hub({"ann/tiny": FILES})
    wanted = needs("ann/tiny", BIG)
    monkeypatch.setattr(client, "WINDOW", 0.1)
    monkeypatch.setattr(transfer, "TRIES", 2)
    mirror.faults[BIG] = Fault(trickle=(10, 0.03), origins=("store",))
    (found,) = refusal(download_files, wanted)
    assert found.startswith("S494 ")


def test_a_killed_download_goes_on(hub, hub_home):
    mirror = hub({"ann/tiny": FILES})
    (need,) = needs("ann/tiny", BIG)
    mirror.faults[BIG] = Fault(trickle=(1 << 18, 0.05), origins=("store",))
    process = _process(BIG)
    part = transfer.part_of(need.snapshot, need.file)
    deadline = time.monotonic() + 120
    while not (part.exists() and part.stat().st_size > 1 << 18) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    kept = part.stat().st_size
    assert 0 < kept < len(WEIGHTS)
    mirror.faults.clear()
    mirror.requests.clear()
    download_files([need])
    assert is_downloaded(need)
    assert sent(mirror, "/store/") == len(WEIGHTS) - kept


@pytest.mark.parametrize("silence", [Fault(stall=90), Fault(trickle=(1 << 20, 90))])
def test_an_interrupt_does_not_wait_for_a_silent_server(hub, hub_home, silence):
    mirror = hub({"ann/tiny": FILES})
    mirror.faults[BIG] = silence
    process = _process(BIG)
    deadline = time.monotonic() + 60
    while not mirror.requests_of("/resolve/") and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
    assert process.returncode == -signal.SIGINT


def test_stale_parts_are_swept(hub, hub_home):
    hub({"ann/tiny": FILES})
    found = snapshot(parse_id("ann/tiny"))
    blobs = found.home / "blobs"
    blobs.mkdir(parents=True)
    old, new = blobs / "a.composer-part", blobs / "b.composer-part"
    for part in (old, new):
        part.write_bytes(b"x")
    os.utime(old, (0, 0))
    download.remove_stale_parts(found.home)
    assert (old.exists(), new.exists()) == (False, True)

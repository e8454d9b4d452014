"""1,000 clips while workers, drivers and machines of a cluster are killed at random."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.jobs.corpora import output_of, rows_of, short_parts

pytestmark = pytest.mark.slow
CLIPS = 1000
LONGEST = 1500  # seconds that a disturbed run may take


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return short_parts(tmp_path_factory.mktemp("corpus") / "clips.jsonl", CLIPS)


def start(corpus, folder, *options):
    """Start the command; its standard error goes to a file beside the folder."""
    command = [sys.executable, "-m", "composer", "batch", "mega-asr-mini", corpus, "-o", folder]
    command += ["--rows", "100", "--workers", "2", "--json", *options]
    with folder.with_suffix(".err").open("a") as errors:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)


def account(driver):
    """Wait for a run, and return its account."""
    text, _ = driver.communicate(timeout=LONGEST)
    assert driver.returncode == 0, text
    return json.loads(text)


@pytest.fixture(scope="module")
def whole(corpus):
    """Return the folder of a run that nothing disturbed."""
    folder = corpus.parent / "whole"
    found = account(start(corpus, folder))
    assert (found["clips"], found["rows"], found["failed"]) == (CLIPS, CLIPS, 0)
    assert len({row["id"] for row in rows_of(folder)}) == CLIPS
    return folder


def processes(word, parent=None):
    """Return the processes with a word in their command, or of one parent alone."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (path / "cmdline").read_bytes().decode(errors="replace")
            above = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if word in command and parent in (None, above):
                found.append(int(path.name))
    return found


def kill(chance, found):
    """Kill one of some processes by -9; return how many that were."""
    if not found:
        return 0
    with suppress(ProcessLookupError):
        os.kill(chance.choice(found), signal.SIGKILL)
        return 1
    return 0


def wait_for_rows(driver, folder):
    """Wait until there are more rows in a folder, or the driver is at its end."""
    times, before = folder / "times.jsonl", None
    while driver.poll() is None:
        size = times.stat().st_size if times.exists() else 0
        if before is not None and size > before:
            return
        before = size if before is None else before
        time.sleep(0.01)


@pytest.mark.parametrize("seed", [1, 2])
def test_workers_that_are_killed(corpus, whole, tmp_path, seed):
    chance, kills = random.Random(seed), 0
    driver = start(corpus, tmp_path / "out")
    while driver.poll() is None and kills < 25:
        time.sleep(chance.uniform(0.5, 4))
        kills += kill(chance, processes("worker_child", driver.pid))
    found = account(driver)
    assert kills > 3
    assert found["restarts"] > 3
    assert (found["rows"], found["failed"]) == (CLIPS, 0)
    assert output_of(tmp_path / "out") == output_of(whole)


@pytest.mark.parametrize("seed", [1, 2])
def test_drivers_that_are_killed(corpus, whole, tmp_path, seed):
    """Some of them while they load, some while they write, some with a worker before them."""
    chance, killed = random.Random(seed), 0
    until = time.monotonic() + LONGEST
    driver = start(corpus, tmp_path / "out")
    while killed < 12 and time.monotonic() < until:
        if chance.random() < 0.7:
            wait_for_rows(driver, tmp_path / "out")
        time.sleep(chance.uniform(0, 2))
        if chance.random() < 0.4:
            kill(chance, processes("worker_child", driver.pid))
        driver.kill()
        driver.communicate()
        killed += driver.returncode == -signal.SIGKILL
        driver = start(corpus, tmp_path / "out")
    found = account(driver)
    assert found["rows"] == CLIPS
    assert killed > 3
    assert found["runs"] > 3
    assert output_of(tmp_path / "out") == output_of(whole)
    time.sleep(3)
    assert processes(str(tmp_path / "out")) == []


@contextmanager
def cluster_of(count):
    """Yield a cluster of so many machines beside its head, all of them on this one."""
    from ray.cluster_utils import Cluster

    quiet = {"include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **quiet})
    try:
        nodes = [cluster.add_node(num_cpus=2, wait=True) for _ in range(count)]
        yield cluster, nodes
    finally:
        cluster.shutdown()


def test_actors_machines_and_drivers_of_a_cluster_that_are_killed(
    corpus, whole, tmp_path, monkeypatch
):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    chance, done = random.Random(3), dict.fromkeys(("actor", "child", "machine", "driver"), 0)
    with cluster_of(2) as (cluster, nodes):
        begin = ("--ray", cluster.address)
        driver = start(corpus, tmp_path / "out", *begin)
        until = time.monotonic() + LONGEST
        while driver.poll() is None and sum(done.values()) < 16 and time.monotonic() < until:
            time.sleep(chance.uniform(4, 10))
            what = chance.choice(sorted(done))
            if what == "actor":
                done[what] += kill(chance, processes("ray::WorkerHost"))
            elif what == "child":
                done[what] += kill(chance, processes("worker_child"))
            elif what == "machine":
                gone = nodes.pop(chance.randrange(len(nodes)))
                cluster.remove_node(gone, allow_graceful=False)
                nodes.append(cluster.add_node(num_cpus=2, wait=True))
                done[what] += 1
            else:
                driver.kill()
                driver.communicate()
                driver = start(corpus, tmp_path / "out", *begin)
                done[what] += 1
        found = account(driver)
    print(done, found)
    assert sum(done.values()) > 3
    assert (found["rows"], found["failed"]) == (CLIPS, 0)
    assert output_of(tmp_path / "out") == output_of(whole)

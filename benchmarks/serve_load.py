"""Serve ten times what a machine can do: what is accepted, how long it takes, what is refused."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx2

PAGE = os.sysconf("SC_PAGE_SIZE")
BUNDLE = "mega-asr-mini"
PATH = "/v1/audio/transcriptions"
BROKEN = 0  # in place of a status: the connection ended without an answer
CLIP = Path("bundles/mega-asr-mini/clips/digits-01.flac")


@dataclass
class Load:
    """What came of the requests: seconds of those that were answered, and all statuses."""

    seconds: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0

    async def one(self, client: httpx2.AsyncClient, clip: bytes, text: str | None) -> str:
        """Send a request and count its answer; return its text."""
        began = time.perf_counter()
        files = {"file": ("a.flac", clip)}
        try:
            made = await client.post(PATH, data={"model": BUNDLE}, files=files)
        except httpx2.TransportError:
            self.statuses[BROKEN] += 1
            return ""
        taken = time.perf_counter() - began
        self.statuses[made.status_code] += 1
        if made.status_code != 200:
            self.refused.append(taken)
            return ""
        self.seconds.append(taken)
        found: str = made.json()["text"]
        self.wrong += text is not None and found != text
        return found


def quantiles(values: Sequence[float]) -> str:
    """Return the median, 95 % and 99 % in milliseconds."""
    if len(values) < 2:
        return "-"
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return " / ".join(f"{1000 * cuts[at - 1]:.0f}" for at in (50, 95, 99))


def resident(process: subprocess.Popen[str]) -> float:
    """Return a process's resident memory in MB; 0 where the system does not say."""
    path = Path(f"/proc/{process.pid}/statm")
    return int(path.read_text().split()[1]) * PAGE / 1e6 if path.exists() else 0.0


async def print_memory(process: subprocess.Popen[str]) -> None:
    """Print the process's memory now and after each minute, until this is cancelled."""
    for minute in count():
        print(f"memory after {minute} min: {resident(process):.0f} MB", flush=True)
        await asyncio.sleep(60)


async def measure(url: str, times: float, seconds: float, process: subprocess.Popen[str]) -> None:
    """Measure the rate that the server reaches, then send so many times as much for a while."""
    clip = CLIP.read_bytes()
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        alone = Load()
        text = await alone.one(client, clip, None)
        for _ in range(10):
            await alone.one(client, clip, text)
        began = time.perf_counter()
        both = Load()

        async def steady() -> None:
            while time.perf_counter() - began < 10:
                await both.one(client, clip, text)

        await asyncio.gather(steady(), steady())
        rate = len(both.seconds) / (time.perf_counter() - began)
        print(f"one at a time: p50 / p95 / p99 {quantiles(alone.seconds[1:])} ms")
        print(f"two at a time: {rate:.2f} requests a second, {quantiles(both.seconds)} ms")
        memory = asyncio.create_task(print_memory(process))
        load, waiting = Load(), set[asyncio.Task[str]]()
        began = time.perf_counter()
        for number in range(round(times * rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / (times * rate) - time.perf_counter()))
            waiting.add(asyncio.ensure_future(load.one(client, clip, text)))
        taken = time.perf_counter() - began
        await asyncio.gather(*waiting)
        memory.cancel()
        page = (await client.get("/metrics")).text
    accepted = len(load.seconds) / taken
    print(f"{times:g} times as many for {taken:.0f} s: {sum(load.statuses.values())} requests")
    print(f"statuses: {dict(load.statuses)}, wrong texts: {load.wrong}")
    print(f"accepted: {accepted:.2f} a second, {quantiles(load.seconds)} ms")
    print(f"refused: {quantiles(load.refused)} ms")
    print(f"memory at the end: {resident(process):.0f} MB")
    depth = re.search(r"^composer_queue_depth (\S+)", page, re.M)
    print(f"queue at the end: {depth[1] if depth else '?'}")


def main(arguments: list[str]) -> None:
    """Serve the miniature, load it, stop it, and say how it ended."""
    parser = argparse.ArgumentParser(prog="scripts/bench serve-load", description=__doc__)
    parser.add_argument("--times", type=float, default=10, help="its rate, so many times")
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args(arguments)
    command = [sys.executable, "-m", "composer", "serve", BUNDLE, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        url = process.stdout.readline().split()[-1]
        asyncio.run(measure(url, given.times, given.seconds, process))
        process.terminate()
        print(f"stopped with status {process.wait(60)}")
    finally:
        process.kill()
        process.wait()

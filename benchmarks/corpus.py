"""Transcribe a corpus by `composer batch`: one by one, several at once, and on two processes.

The corpus is parts of the clips of mega-asr-mini, of 0.5 to 4 s. The ways take turns, so that other
programs slow all of them alike. Their rows are first compared: they are to be the same files. Times
are those of the account, from the first worker that is ready to the last row.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median

import soundfile

from benchmarks.timing import quartiles

CLIPS = Path(__file__).parents[1] / "bundles" / "mega-asr-mini" / "clips"
BASE = "one by one"
WAYS = {
    BASE: {"workers": 1, "in_flight": 1},
    "8 at once": {"workers": 1, "in_flight": 8},
    "2 processes, one by one": {"workers": 2, "in_flight": 1},
    "2 processes, 8 at once": {"workers": 2, "in_flight": 8},
}


def main(arguments: list[str]) -> None:
    """Print the audio a second that each way transcribes, and what it gains."""
    parser = argparse.ArgumentParser(prog="scripts/bench corpus", description=__doc__)
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None, help="of each worker")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "clips.jsonl"
        manifest.write_text("".join(f"{json.dumps(part)}\n" for part in parts(options.clips)))
        compare(manifest, options.turns, options.threads)


def parts(count: int) -> list[dict[str, object]]:
    """Return so many parts of the clips."""
    found: list[dict[str, object]] = []
    lengths = {path: soundfile.info(path).duration for path in sorted(CLIPS.glob("*.flac"))}
    turn = 0
    while len(found) < count:
        offset, seconds = round(0.02 * turn, 2), 0.5 + 0.5 * (turn % 8)
        for path, length in lengths.items():
            if offset + seconds < length and len(found) < count:
                found.append({"audio": str(path), "offset": offset, "duration": seconds})
        turn += 1
    return found


def compare(manifest: Path, turns: int, threads: int | None) -> None:
    """Run the ways in turns, of which the first does not count."""
    import composer
    from composer.core.placement import Placement

    profile = composer.Profile(Placement(threads=threads))
    bundle = composer.BundleOptions("mega-asr-mini", profile=profile)
    wall: dict[str, list[float]] = {name: [] for name in WAYS}
    rows, audio = set(), 0.0
    for turn in range(turns + 1):
        for name, more in list(WAYS.items())[:: -1 if turn % 2 else 1]:
            folder = manifest.with_name(f"{name} {turn}")
            found = composer.batch(bundle, manifest, folder, **more)
            rows.add(b"".join(path.read_bytes() for path in sorted(folder.glob("part-*"))))
            audio = found.audio_seconds
            if turn:
                wall[name].append(found.speed.wall)
    assert len(rows) == 1, "other rows"
    print(f"every way gave the same rows, of {audio:.0f} s of audio")
    for name, seconds in wall.items():
        gain = (one / all for one, all in zip(wall[BASE], seconds, strict=True))
        speed = audio / median(seconds)
        print(f"{name:24} {speed:7.1f} s of audio a second, {quartiles(gain)}")

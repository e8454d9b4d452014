"""Log-mels of a corpus on disk: each turn recorded once, so that training only reads."""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from training import corpus, features, speech, targets, turns

MELS = 80
WINDOW = 900  # frames that the encoder takes, whatever the clip's length
SECONDS = WINDOW / 100
LONGEST = 7.8  # seconds of a turn as the synthesizer speaks it
SLOT = 0.02  # seconds of one encoder position, which is two frames
EDGE = 480  # samples of padding whose frames still hear the clip

Floats = NDArray[np.float16]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Entry:
    """One turn; `phones` and the mel start at `start // 2` and `start`."""

    text: str
    ends: list[float]
    start: int
    frames: int


def log_mel(wave: speech.Wave) -> speech.Wave:
    """Give `[mels, T]` of a wave at 16 kHz that is normalized and then padded; T is even.

    MERaLiON's rule: mean 0 and variance 1 over the clip's own samples, and zeros after it. All
    frames beyond T would be equal, and have the value of `floor`.
    """
    normal = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
    odd = (len(wave) + EDGE) // features.HOP % 2
    padded = np.pad(normal.astype(np.float32), (0, EDGE + odd * features.HOP))
    return features.log_mel(padded, MELS)[:, :WINDOW]


def floor(mel: speech.Wave) -> float:
    """Give the value of silence beside a clip: 8 decades below its loudest."""
    return float(mel.max()) - 2.0


@cache
def studio(folder: Path) -> tuple[turns.Studio, dict[str, int]]:
    """Open the corpus, once in a process."""
    opened = turns.Studio(folder)
    return opened, targets.inventory(opened.entries)


def record(job: tuple[Path, int, list[int], int]) -> tuple[Entry, Floats, Bytes]:
    """Record one turn: its entry, mel `[T, mels]` and the phone of every 20 ms."""
    folder, version, turn, number = job
    room, inventory = studio(folder)
    made = room.record(turn, Random(f"mels {version} {number}"))
    mel = log_mel(made.wave[: int(SECONDS * corpus.RATE)])
    times, names = zip(*made.phones, strict=True)
    slots = targets.phone_slots(
        list(times), [inventory[name] for name in names], mel.shape[1] // 2, SLOT
    )
    entry = Entry(made.text, [round(end, 3) for end in made.ends], 0, mel.shape[1])
    return entry, mel.T.astype(np.float16), slots.astype(np.uint8)


def build(folder: Path, out: Path, version: int, workers: int, joined: float = 0.15) -> None:
    """Write one version of the corpus: `mels.f16`, `phones.u8` and `index.jsonl`."""
    out.mkdir(parents=True, exist_ok=True)
    lengths = [entry.samples for entry in corpus.read(folder)[0]]
    dealt = turns.deal(lengths, Random(f"deal {version}"), joined, LONGEST)
    jobs = [(folder, version, turn, number) for number, turn in enumerate(dealt)]
    start = 0
    with (
        ProcessPoolExecutor(workers, get_context("spawn")) as pool,  # a fork may hang in NumPy
        (out / "mels.f16").open("wb") as mels,
        (out / "phones.u8").open("wb") as phones,
        (out / "index.part").open("w") as index,
    ):
        for entry, mel, slots in pool.map(record, jobs, chunksize=32):
            if entry.ends and entry.ends[-1] > SECONDS:
                continue
            mels.write(mel.tobytes())
            phones.write(slots.tobytes())
            index.write(json.dumps(asdict(replace(entry, start=start))) + "\n")
            start += entry.frames
    (out / "index.part").rename(out / "index.jsonl")


def read(out: Path) -> tuple[list[Entry], Floats, Bytes]:
    """Open one version: its index, mels `[T, mels]` and phones."""
    lines = (out / "index.jsonl").read_text().splitlines()
    mels = np.memmap(out / "mels.f16", dtype=np.float16, mode="r").reshape(-1, MELS)
    phones = np.memmap(out / "phones.u8", dtype=np.uint8, mode="r")
    return [Entry(**json.loads(line)) for line in lines], mels, phones


def main() -> None:
    """Record some versions from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path, help="gets one folder for each version")
    parser.add_argument("--versions", type=int, default=4)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--joined", type=float, default=0.15, help="share of joined turns")
    arguments = parser.parse_args()
    for version in range(arguments.first, arguments.versions):
        if not (arguments.out / str(version) / "index.jsonl").exists():
            out = arguments.out / str(version)
            build(arguments.corpus, out, version, arguments.workers, arguments.joined)


if __name__ == "__main__":
    main()

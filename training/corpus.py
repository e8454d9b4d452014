"""The training corpus on disk: int16 waves at 16 kHz in one file, and an index."""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from random import Random

import numpy as np
import soxr
from numpy.typing import NDArray

from training import espeak, grammar, speech

RATE = 16000
LONGEST = 13.0  # seconds; a longer draw is dropped
SHARES = {"digits": 0.3, "dates": 0.3, "questions": 0.4}


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence of the corpus."""

    text: str
    category: str
    voice: str
    start: int
    samples: int
    phones: list[tuple[float, str]]
    words: list[tuple[float, int]]


def speak(seed: int) -> tuple[Utterance, NDArray[np.int16]]:
    """Make one utterance of the training side from its seed."""
    random = Random(f"corpus {seed}")
    category = random.choices(list(SHARES), weights=list(SHARES.values()))[0]
    text = grammar.sentence(random, category, held_out=False)
    voice = speech.voice(random, held_out=False)
    spoken = speech.speak(text, voice)
    wave = soxr.resample(spoken.wave, espeak.RATE, RATE).clip(-1, 1)
    entry = Utterance(text, category, voice.name, 0, len(wave), spoken.phones, spoken.words)
    return entry, np.round(wave * 32767).astype(np.int16)


def build(folder: Path, count: int, workers: int) -> None:
    """Write `waves.i16` and `index.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    with (
        ProcessPoolExecutor(workers, get_context("spawn")) as pool,  # a fork may hang in NumPy
        (folder / "waves.i16").open("wb") as waves,
        (folder / "index.jsonl").open("w") as index,
    ):
        for entry, wave in pool.map(speak, range(count), chunksize=64):
            if len(wave) > LONGEST * RATE:
                continue
            waves.write(wave.tobytes())
            index.write(json.dumps(asdict(replace(entry, start=start))) + "\n")
            start += len(wave)


def read(folder: Path) -> tuple[list[Utterance], NDArray[np.int16]]:
    """Open a corpus: its index, and its samples as a memory map."""
    lines = (folder / "index.jsonl").read_text().splitlines()
    waves = np.memmap(folder / "waves.i16", dtype=np.int16, mode="r")
    return [Utterance(**json.loads(line)) for line in lines], waves


def main() -> None:
    """Build the corpus from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=24000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    build(arguments.folder, arguments.count, arguments.workers)


if __name__ == "__main__":
    main()

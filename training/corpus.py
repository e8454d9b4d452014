"""The training corpus on disk: int16 waves at 16 kHz in one file, and an index."""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import soxr
from numpy.typing import NDArray

from training import grammar, speech

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


def speak(seed: int) -> tuple[str, str, str, NDArray[np.int16]]:
    """Make one utterance of the training side from its seed."""
    random = Random(f"corpus {seed}")
    category = random.choices(list(SHARES), weights=list(SHARES.values()))[0]
    text = grammar.sentence(random, category, held_out=False)
    voice = speech.voice(random, held_out=False)
    wave = soxr.resample(speech.synthesize(text, voice), speech.ESPEAK_RATE, RATE)
    return text, category, voice.name, np.round(wave.clip(-1, 1) * 32767).astype(np.int16)


def build(folder: Path, count: int, workers: int) -> None:
    """Write `waves.i16` and `index.jsonl`; the same count gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    with (
        ProcessPoolExecutor(workers) as pool,
        (folder / "waves.i16").open("wb") as waves,
        (folder / "index.jsonl").open("w") as index,
    ):
        for text, category, voice, wave in pool.map(speak, range(count), chunksize=64):
            if len(wave) > LONGEST * RATE:
                continue
            waves.write(wave.tobytes())
            entry = Utterance(text, category, voice, start, len(wave))
            index.write(json.dumps(entry.__dict__) + "\n")
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
    parser.add_argument("--count", type=int, default=30000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    build(arguments.folder, arguments.count, arguments.workers)


if __name__ == "__main__":
    main()

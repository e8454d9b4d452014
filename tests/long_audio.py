"""A long recording of known sentences with known pauses, spoken by espeak-ng."""

import subprocess
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import soxr

from training import heldout

RATE = 16_000


@dataclass(frozen=True)
class Sentence:
    """One sentence of a recording: its text, its samples, and where it begins and ends."""

    text: str
    samples: np.ndarray
    start: int
    stop: int


def voices(count, seed=7):
    """Yield sentences and voices that are not in training, each as (text, samples)."""
    quiet = (each for each in heldout.items(seed=seed) if each.category != heldout.LONG)
    clean = (each for each in quiet if each.condition.name == "clean")
    for each in islice(clean, count):
        yield each.text, soxr.resample(each.wave, 22_050, RATE).astype(np.float32)


def recording(seconds, seed=1, pool=24):
    """Return samples of about so many seconds, and their sentences, in a quiet room.

    Pauses are 0.25 to 1.5 s, one in six up to 6 s.
    """
    random = np.random.default_rng(seed)
    known = list(voices(pool))
    parts, sentences, at = [], [], 0
    while at < seconds * RATE:
        text, samples = known[random.integers(len(known))]
        pause = random.uniform(0.25, 1.5)
        if random.integers(6) == 0:
            pause = random.uniform(2.0, 6.0)
        silence = np.zeros(round(pause * RATE), np.float32)
        parts += [silence, samples]
        start = at + len(silence)
        at = start + len(samples)
        sentences.append(Sentence(text, samples, start, at))
    joined = np.concatenate(parts)
    return joined + random.normal(0, 1e-4, len(joined)).astype(np.float32), sentences


def peak_memory(path: Path) -> float:
    """Return the MB that a process takes at its peak which transcribes a file."""
    code = (
        "import composer, sys\n"
        "from composer.benchmarking.benchmark_child import peak_memory\n"
        "composer.transcribe('mega-asr-mini', sys.argv[1:])\n"
        "print(peak_memory() / 1e6)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)

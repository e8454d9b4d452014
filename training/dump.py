"""Write the held-out set as a folder that `composer eval` reads: float WAV and metadata.jsonl."""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from training import espeak, heldout
from training.clips import describe


def write(folder: Path, size: int, seed: int) -> None:
    """Write the clips with their very samples, which 16 bits would round.

    Not by libsndfile, which writes the time of day beside samples of floats.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.jsonl").open("w") as lines:
        for number, item in enumerate(heldout.items(size, seed)):
            name = f"{number:04}-{item.category}.wav"
            wavfile.write(folder / name, espeak.RATE, item.wave.astype(np.float32))
            line = {
                "file_name": name,
                "transcription": item.text,
                "category": item.category,
                "condition": item.condition.name,
                "recording": describe(item.condition),
                "voice": item.voice,
            }
            lines.write(json.dumps(line) + "\n")


def main() -> None:
    """Write the set from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=heldout.SIZE)
    parser.add_argument("--seed", type=int, default=heldout.SEED)
    arguments = parser.parse_args()
    write(arguments.folder, arguments.size, arguments.seed)


if __name__ == "__main__":
    main()

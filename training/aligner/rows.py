"""Rows of the frozen encoder for turns of the corpus, with the times of their words, on disk."""

import argparse
import json
from pathlib import Path
from random import Random

import numpy as np
import torch

from training import features, turns
from training.aligner.encoder import encoder
from training.mega_asr.model import AUDIO

JOINED_SHARE = 0.5
LONGEST = 12.0  # seconds of a turn


def build(corpus: Path, folder: Path, versions: int) -> None:
    """Record each turn so many times; write `rows.f16` and `index.jsonl`."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    studio, tower = turns.Studio(corpus), encoder()
    lengths = [entry.samples for entry in studio.entries]
    with (folder / "rows.f16").open("wb") as rows, (folder / "index.jsonl").open("w") as index:
        for version in range(versions):
            random = Random(f"aligner {version}")
            for turn in turns.deal(lengths, random, JOINED_SHARE, LONGEST):
                made = studio.record(turn, random)
                if not made.text:
                    continue
                mel = turns.mask(features.log_mel(made.wave, AUDIO.num_mel_bins), random)
                with torch.no_grad():
                    frames = torch.tensor([mel.shape[1]])
                    found = tower(torch.from_numpy(mel)[None], frames)[0]
                found = found[: AUDIO.rows(mel.shape[1])]
                rows.write(found.numpy().astype(np.float16).tobytes())
                entry = {"text": made.text, "rows": len(found), "spans": made.spans}
                index.write(json.dumps(entry) + "\n")
            index.flush()


def main() -> None:
    """Build them from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--versions", type=int, default=2)
    arguments = parser.parse_args()
    build(arguments.corpus, arguments.folder, arguments.versions)


if __name__ == "__main__":
    main()

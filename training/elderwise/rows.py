"""The frozen encoder's rows of recorded turns on disk, so that the rest trains without it."""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training import loop
from training.elderwise import mels
from training.elderwise.encoder import ROWS, SPEECH, SpeechEncoder

Floats = NDArray[np.float16]


def load(run: Path) -> SpeechEncoder:
    """Read the trained encoder with the float16 weights that are shipped."""
    state = torch.load(run / "encoder.pt", map_location="cpu")["model"]
    encoder = SpeechEncoder()
    encoder.load_state_dict(
        {
            name.removeprefix("encoder."): tensor.half().float()
            for name, tensor in state.items()
            if name.startswith("encoder.")
        }
    )
    encoder.requires_grad_(False)
    return encoder.eval()


def windows(entries: list[mels.Entry], stored: mels.Floats) -> torch.Tensor:
    """Split mels into complete windows `[B, mels, WINDOW]`, padded with silence."""
    out = np.empty((len(entries), mels.MELS, mels.WINDOW), np.float32)
    for at, entry in enumerate(entries):
        mel = stored[entry.start : entry.start + entry.frames].T.astype(np.float32)
        out[at] = mels.floor(mel)
        out[at, :, : entry.frames] = mel
    return torch.from_numpy(out)


def build(encoder: SpeechEncoder, folder: Path, out: Path, size: int = 16) -> None:
    """Write `rows.f16` for one version of the corpus."""
    out.mkdir(parents=True, exist_ok=True)
    entries, stored, _ = mels.read(folder)
    half = torch.autocast("cpu", torch.bfloat16)
    with (out / "rows.part").open("wb") as file, torch.no_grad(), half:
        for start in range(0, len(entries), size):
            rows = encoder(windows(entries[start : start + size], stored))
            file.write(rows.half().numpy().tobytes())
    (out / "rows.part").rename(out / "rows.f16")


def read(out: Path) -> Floats:
    """Open the rows `[turns, ROWS, text_hidden]` of one version."""
    flat = np.memmap(out / "rows.f16", dtype=np.float16, mode="r")
    return flat.reshape(-1, ROWS, SPEECH.text_hidden)


def main() -> None:
    """Encode some versions from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mels", type=Path)
    parser.add_argument("run", type=Path, help="folder of the checkpoints")
    parser.add_argument("out", type=Path, help="gets one folder for each version")
    parser.add_argument("--first", type=int, default=6)
    parser.add_argument("--versions", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    loop.prepare(0, arguments.threads)
    encoder = load(arguments.run)
    for version in range(arguments.first, arguments.versions):
        if not (arguments.out / str(version) / "rows.f16").exists():
            build(encoder, arguments.mels / str(version), arguments.out / str(version))


if __name__ == "__main__":
    main()

"""A model's paths and its inputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Model:
    """A model's paths for composer and for the peers, and its stop ids."""

    shape: str
    bundle: Path
    task: str
    checkpoint: Path
    ends: tuple[int, ...]
    original: Path | None = None


CONTINUE = """\
composer: 1
name: {name}
sources: {{repo: ./}}
components:
  decoder: {{use: {use}, weights: repo/weights, files: repo/tokenizer}}
{variants}inputs: {{ids: ids}}
graph:
  words:  {{run: decoder.embed,    with: {{ids: $ids}}}}
{more}  answer: {{run: decoder.generate, with: {{embeds: $words, {side}max_tokens: 64}}}}
outputs: {{ids: $answer.ids}}
"""


def add_tokenizer(folder: Path) -> None:
    """Copy the tokenizer beside the weights, where onnxruntime-genai's builder expects it."""
    tokenizer = (folder / "tokenizer/tokenizer.json").read_bytes()
    (folder / "weights/tokenizer.json").write_bytes(tokenizer)
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (folder / "weights/tokenizer_config.json").write_text(json.dumps(named))


def clip(folder: Path, seconds: float) -> Path:
    """Write a clip of a changing tone and noise at 16 kHz, as NumPy's file."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    tone = np.sin(2 * np.pi * time * (180 + 60 * np.sin(2.2 * time)))
    noise = np.random.default_rng(0).standard_normal(len(time))
    made = (0.1 + 0.3 * np.sin(1.7 * time) ** 2) * tone + 0.02 * noise
    path = folder / f"clip-{seconds:g}.npy"
    np.save(path, made.astype(np.float32))
    return path

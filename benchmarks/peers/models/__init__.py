"""Write models with random weights, for composer and for its peers."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.models.gemma4 import gemma4
from benchmarks.peers.models.gemma4_audio import gemma4_audio
from benchmarks.peers.models.model import Model, clip
from benchmarks.peers.models.qwen3 import qwen3
from benchmarks.peers.models.qwen3_asr import qwen3_asr

__all__ = ["MAKERS", "Model", "clip", "gemma4", "gemma4_audio", "make", "qwen3", "qwen3_asr"]

MAKERS = {
    "qwen3": qwen3,
    "gemma4": gemma4,
    "qwen3-asr": qwen3_asr,
    "gemma4-audio": gemma4_audio,
}


def make(name: str, folder: Path, real: bool) -> Model:
    """Write a model by name, small or in a published model's shape."""
    return MAKERS[name](folder, real)

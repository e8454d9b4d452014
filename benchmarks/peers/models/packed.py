"""Decoders whose packed file is compared: Qwen3's with their float32 weights, Gemma-4's without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.gemma4 import CONFIG, ROPE
from benchmarks.gemma4_decode import E2B
from benchmarks.peers.models.gemma4 import COMMON, PER_LAYER, SMALL
from benchmarks.peers.models.model import CONTINUE, Model
from benchmarks.peers.models.qwen3 import qwen3
from benchmarks.weights import Sizes, write_tokenizer

QWEN3 = {
    "qwen3-0.6b": Sizes(0, 0, 28, 1024, 3072, 16, 8, 128, 151_936, None),
    "qwen3-1.7b": Sizes(0, 0, 28, 2048, 6144, 16, 8, 128, 151_936, None),
}
GEMMA4: dict[str, dict[str, Any]] = {"gemma4-e2b": E2B, "gemma4-e4b": CONFIG}
MODELS = (*QWEN3, *GEMMA4)
VARIANTS = """\
variants:
  packed_int8: {components: {decoder: {config: {activations: int8}}}}
  packed: {}
"""


def write_packed_model(name: str, folder: Path, real: bool) -> Model:
    """Write a bundle that reads `weights.gguf`, which is written later, in a published shape."""
    if name in QWEN3:
        return qwen3(folder, real, QWEN3[name] if real else None)
    config = GEMMA4[name] if real else small(GEMMA4[name])
    weights = folder / "weights"
    weights.mkdir()
    (weights / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder / "tokenizer", config["vocab_size"])
    text = CONTINUE.format(
        name="gemma4", use="onnx.gemma4", more=PER_LAYER, side="per_layer: $side, ",
        variants=VARIANTS,
    )  # fmt: skip
    (folder / "bundle.yaml").write_text(text.replace("repo/weights,", "repo/weights.gguf,"))
    shape = "its published shape" if real else f"{config['num_hidden_layers']} layers of 256"
    return Model(f"{shape}, random numbers", folder, "default", weights, (1,))


def small(published: dict[str, Any]) -> dict[str, Any]:
    """Return a config of few narrow layers that is otherwise as the published one."""
    return {**published, **SMALL, **COMMON, "rope_parameters": ROPE}

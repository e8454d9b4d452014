"""A text decoder of Qwen3."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.models.model import CONTINUE, Model, add_tokenizer
from benchmarks.weights import SMALL, Sizes, write_decoder, write_tokenizer

VARIANTS = """\
variants:
  cpu: {components: {decoder: {use: onnx.lm}}}
  packed: {components: {decoder: {use: onnx.lm, weights: repo/weights.gguf}}}
  packed_int8:
    components:
      decoder: {use: onnx.lm, weights: repo/weights.gguf, config: {activations: int8}}
"""
REAL = Sizes(0, 0, 28, 1024, 3072, 16, 8, 128, 151_936, None)


def qwen3(folder: Path, real: bool = False, sizes: Sizes | None = None) -> Model:
    """Write it in float32, of 4 layers of 256 or of Qwen3-0.6B's shape."""
    sizes = sizes or (REAL if real else SMALL)
    shape = f"{sizes.layers} layers of {sizes.width}"
    if sizes == REAL:
        shape = "Qwen3-0.6B's shape, 2.4 GB"
    write_decoder(folder / "weights", sizes)
    write_tokenizer(folder / "tokenizer", sizes.vocabulary)
    manifest = CONTINUE.format(name="qwen3", use="mlx.lm", more="", side="", variants=VARIANTS)
    (folder / "bundle.yaml").write_text(manifest)
    add_tokenizer(folder)
    return Model(shape, folder, "default", folder / "weights", (sizes.vocabulary - 1,))

"""The tensors of Mega-ASR's router: their names in its file, those here, and their sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator

NORMALIZED = ("weight", "bias", "running_mean", "running_var")
FRONTEND = {
    "frontend.conv.0.weight": "channels mels 3",
    "frontend.conv.0.bias": "channels",
    **{f"frontend.conv.1.{part}": "channels" for part in NORMALIZED},
    "frontend.conv.4.weight": "width channels 3",
    "frontend.conv.4.bias": "width",
    **{f"frontend.conv.5.{part}": "width" for part in NORMALIZED},
}
POSITIONS = "pos_encoder.pe"
LAYER = {
    "self_attn.in_proj.weight": "joined width",
    "self_attn.in_proj.bias": "joined",
    "self_attn.out_proj.weight": "width width",
    "self_attn.out_proj.bias": "width",
    "linear1.weight": "ffn width",
    "linear1.bias": "ffn",
    "linear2.weight": "width ffn",
    "linear2.bias": "width",
    "norm1.weight": "width",
    "norm1.bias": "width",
    "norm2.weight": "width",
    "norm2.bias": "width",
}
AFTER = {
    "transformer.norm.weight": "width",
    "transformer.norm.bias": "width",
    "pooling.query.weight": "1 width",
    "pooling.query.bias": "1",
    "classifier.0.weight": "hidden width",
    "classifier.0.bias": "hidden",
    "classifier.3.weight": "2 hidden",
    "classifier.3.bias": "2",
}
LABELS = {
    "mels": "the number of mels",
    "channels": "the channels of the first convolution",
    "width": "the width of the hidden states",
    "joined": "what queries, keys and values take together",
    "ffn": "the width of the feed-forward layers",
    "hidden": "the width of the classifier",
    "positions": "the number of positions",
    "heads": "the number of attention heads",
    "layers": "the number of layers",
}
LAYER_NUMBER = re.compile(r"transformer\.layers\.(\d{1,3})\.")
COUNTERS = ("frontend.conv.1.num_batches_tracked", "frontend.conv.5.num_batches_tracked")


def tensor_shapes(layers: int) -> Iterator[tuple[str, str]]:
    """Name every tensor that is computed with, with the names of its sizes."""
    yield from FRONTEND.items()
    yield POSITIONS, "1 positions width"
    for number in range(layers):
        for name, sizes in LAYER.items():
            yield f"transformer.layers.{number}.{name}", sizes
    yield from AFTER.items()


def stored_name(name: str) -> str:
    """Return a tensor's name in the file, where torch writes in_proj_weight."""
    return name.replace("in_proj.", "in_proj_")

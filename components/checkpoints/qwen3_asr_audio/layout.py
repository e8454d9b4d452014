"""The tensors of Qwen3-ASR's audio encoder: their names in each layout, and their sizes.

A tensor goes by its name below `thinker.audio_tower.` of the release.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..meralion.layout import LAYER as WHISPER_LAYER

BEFORE = {
    "conv2d1.weight": "channels 1 3 3",
    "conv2d1.bias": "channels",
    "conv2d2.weight": "channels channels 3 3",
    "conv2d2.bias": "channels",
    "conv2d3.weight": "channels channels 3 3",
    "conv2d3.bias": "channels",
    "conv_out.weight": "width joined",
}
LAYER = {**WHISPER_LAYER, "self_attn.k_proj.bias": "width"}  # Whisper's keys have no bias
AFTER = {
    "ln_post.weight": "width",
    "ln_post.bias": "width",
    "proj1.weight": "width width",
    "proj1.bias": "width",
    "proj2.weight": "out width",
    "proj2.bias": "out",
}
LABELS = {
    "mels": "the number of mels",
    "channels": "the channels of the convolutions",
    "joined": "what conv_out takes",
    "width": "the encoder's width",
    "ffn": "the width of the feed-forward layers",
    "out": "the width of the rows",
    "layers": "the number of layers",
    "heads": "the number of attention heads",
}
TOWER = "audio_tower."
PROJECTOR = "multi_modal_projector."  # where transformers keeps the last two Linears
PARTS = (TOWER, PROJECTOR, "model.", "language_model.", "lm_head.")
_RENAMED = {f"{PROJECTOR}linear_1.": f"{TOWER}proj1.", f"{PROJECTOR}linear_2.": f"{TOWER}proj2."}
LAYER_NUMBER = re.compile(r"layers\.(\d{1,3})\.")


def tensor_shapes(layers: int) -> Iterator[tuple[str, str]]:
    """Name every tensor, with the names of its sizes."""
    yield from BEFORE.items()
    for number in range(layers):
        for name, sizes in LAYER.items():
            yield f"layers.{number}.{name}", sizes
    yield from AFTER.items()


def short_name(stored: str, prefix: str) -> str | None:
    """Return a tensor's name in this layout, or None where it is of another part.

    `prefix` stands before `audio_tower.`: that of the release is `thinker.`, that of transformers
    `model.`, and MLX's conversions have none.
    """
    if not stored.startswith(prefix):
        return None
    name = stored.removeprefix(prefix)
    for theirs, ours in _RENAMED.items():
        if name.startswith(theirs):
            name = name.replace(theirs, ours, 1)
    if not name.startswith(TOWER):
        return None
    return name.removeprefix(TOWER)

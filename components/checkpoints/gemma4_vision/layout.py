"""The tensors of Gemma-4's vision tower: their names, which are the checkpoint's, and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..gemma4_audio.layout import layer_shapes

TOWER, EMBED = "vision_tower.", "embed_vision."
TABLE = f"{TOWER}patch_embedder.position_embedding_table"
BEFORE = {
    f"{TOWER}patch_embedder.input_proj.weight": "width patch",
    TABLE: "2 positions width",
}
LAYER = {
    "input_layernorm.weight": "width",
    "post_attention_layernorm.weight": "width",
    "pre_feedforward_layernorm.weight": "width",
    "post_feedforward_layernorm.weight": "width",
    "self_attn.q_norm.weight": "head",
    "self_attn.k_norm.weight": "head",
}
CLIPPED = {
    "self_attn.q_proj": "attended width",
    "self_attn.k_proj": "attended width",
    "self_attn.v_proj": "attended width",
    "self_attn.o_proj": "width attended",
    "mlp.gate_proj": "inner width",
    "mlp.up_proj": "inner width",
    "mlp.down_proj": "width inner",
}
STANDARDIZED = {f"{TOWER}std_bias": "width", f"{TOWER}std_scale": "width"}
AFTER = {f"{EMBED}embedding_projection.weight": "out width"}
LABELS = {
    "patch": "the numbers of a patch",
    "side": "the side of a patch",
    "positions": "the number of positions",
    "width": "the encoder's width",
    "attended": "the width of all attention heads",
    "head": "the width of an attention head",
    "heads": "the number of attention heads",
    "inner": "the width of the feed-forward layers",
    "layers": "the number of layers",
    "out": "the width of the decoder's embeddings",
}

LAYER_NUMBER = re.compile(r"vision_tower\.encoder\.layers\.(\d{1,3})\.")


def tensor_shapes(layers: int, *, clipped: bool, standardized: bool) -> Iterator[tuple[str, str]]:
    """Name every tensor with its sizes."""
    yield from BEFORE.items()
    for number in range(layers):
        yield from layer_shapes(f"{TOWER}encoder.layers.{number}.", LAYER, CLIPPED, clipped)
    if standardized:
        yield from STANDARDIZED.items()
    yield from AFTER.items()

"""The tensors of SigLIP's vision tower in a Gemma 3: their names, which are Google's, and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator

TOWER, PROJECTOR = "vision_tower.vision_model.", "multi_modal_projector."
EMBEDDING, POSITIONS = f"{TOWER}embeddings.patch_embedding", f"{TOWER}embeddings.position_embedding"
NORM, PROJECTION = f"{PROJECTOR}mm_soft_emb_norm", f"{PROJECTOR}mm_input_projection_weight"
BEFORE = {
    f"{EMBEDDING}.weight": "width 3 side side",
    f"{EMBEDDING}.bias": "width",
    f"{POSITIONS}.weight": "positions width",
}
LAYER = {
    "layer_norm1.weight": "width",
    "layer_norm1.bias": "width",
    "self_attn.q_proj.weight": "width width",
    "self_attn.q_proj.bias": "width",
    "self_attn.k_proj.weight": "width width",
    "self_attn.k_proj.bias": "width",
    "self_attn.v_proj.weight": "width width",
    "self_attn.v_proj.bias": "width",
    "self_attn.out_proj.weight": "width width",
    "self_attn.out_proj.bias": "width",
    "layer_norm2.weight": "width",
    "layer_norm2.bias": "width",
    "mlp.fc1.weight": "inner width",
    "mlp.fc1.bias": "inner",
    "mlp.fc2.weight": "width inner",
    "mlp.fc2.bias": "width",
}
AFTER = {
    f"{TOWER}post_layernorm.weight": "width",
    f"{TOWER}post_layernorm.bias": "width",
    f"{NORM}.weight": "width",
    PROJECTION: "width out",
}
LABELS = {
    "side": "the side of a patch",
    "positions": "the number of patches",
    "pixels": "the side of a picture",
    "colours": "the number of colours",
    "width": "the encoder's width",
    "heads": "the number of attention heads",
    "inner": "the width of the feed-forward layers",
    "layers": "the number of layers",
    "rows": "the rows of a picture",
    "out": "the width of the decoder's embeddings",
}
PARTS = (
    "vision_tower.", PROJECTOR, "language_model.", "lm_head.", "audio_tower.", "audio_projector.",
)  # fmt: skip
LAYER_NUMBER = re.compile(re.escape(f"{TOWER}encoder.layers.") + r"(\d{1,3})\.")


def tensor_shapes(layers: int) -> Iterator[tuple[str, str]]:
    """Name every tensor with its sizes."""
    yield from BEFORE.items()
    for number in range(layers):
        for name, sizes in LAYER.items():
            yield f"{TOWER}encoder.layers.{number}.{name}", sizes
    yield from AFTER.items()


def own_name(stored: str) -> str:
    """Return a tensor's name in this layout, without `model.`, which transformers puts before.

    transformers since its fifth version leaves `vision_model.` out.
    """
    name = stored.removeprefix("model.")
    if name.startswith("vision_tower.") and not name.startswith(TOWER):
        name = TOWER + name.removeprefix("vision_tower.")
    return name

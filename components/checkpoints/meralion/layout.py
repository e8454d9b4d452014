"""The tensors of MERaLiON's speech encoder: their names in both layouts, and their sizes.

A tensor goes by its name in the modules of Hugging Face, without the prefixes of the whole model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

BEFORE = {
    "conv1.weight": "width mels 3",
    "conv1.bias": "width",
    "conv2.weight": "width width 3",
    "conv2.bias": "width",
    "embed_positions.weight": "window width",
}
LAYER = {
    "self_attn_layer_norm.weight": "width",
    "self_attn_layer_norm.bias": "width",
    "self_attn.q_proj.weight": "width width",
    "self_attn.q_proj.bias": "width",
    "self_attn.k_proj.weight": "width width",
    "self_attn.v_proj.weight": "width width",
    "self_attn.v_proj.bias": "width",
    "self_attn.out_proj.weight": "width width",
    "self_attn.out_proj.bias": "width",
    "final_layer_norm.weight": "width",
    "final_layer_norm.bias": "width",
    "fc1.weight": "ffn width",
    "fc1.bias": "ffn",
    "fc2.weight": "width ffn",
    "fc2.bias": "width",
}
AFTER = {
    "layer_norm.weight": "width",
    "layer_norm.bias": "width",
    "ln_speech.weight": "width",
    "ln_speech.bias": "width",
    "mlp_adapter.0.weight": "inner joined",
    "mlp_adapter.0.bias": "inner",
}
LARGE = {
    "gate_proj.weight": "inner inner",
    "gate_proj.bias": "inner",
    "pool_proj.weight": "inner inner",
    "pool_proj.bias": "inner",
    "out_proj.weight": "out inner",
    "out_proj.bias": "out",
}
SMALL = {
    "speech_llm_proj.0.weight": "hidden inner",
    "speech_llm_proj.0.bias": "hidden",
    "speech_llm_proj.2.weight": "out hidden",
    "speech_llm_proj.2.bias": "out",
}
LABELS = {
    "mels": "the number of mels",
    "width": "the encoder's width",
    "ffn": "the width of the feed-forward layers",
    "window": "the number of positions",
    "joined": "what the adaptor takes",
    "inner": "the adaptor's inner width",
    "hidden": "the adaptor's second width",
    "out": "the width of the rows",
    "layers": "the number of layers",
    "heads": "the number of attention heads",
    "factor": "the number of frames that the adaptor joins",
}
ADAPTOR = ("mlp_adapter.", "gate_proj.", "pool_proj.", "out_proj.", "speech_llm_proj.")
NOT_LINEAR = ("embed_positions.weight",)
ENCODER = "speech_encoder."
JOINER = "speech_audio_adapter."
OTHER = "text_decoder."

LAYER_NUMBER = re.compile(rf"(?:{re.escape(ENCODER)})?layers\.(\d{{1,3}})\.")
_SEQUENTIAL = re.compile(r"^(mlp_adapter|speech_llm_proj)\.(?=\d)")


def tensor_shapes(layers: int, *, small: bool) -> Iterator[tuple[str, str]]:
    """Name every tensor, with the names of its sizes; those of a convolution end with its 3."""
    yield from BEFORE.items()
    for number in range(layers):
        for name, sizes in LAYER.items():
            yield f"layers.{number}.{name}", sizes
    yield from AFTER.items()
    adaptor = SMALL if small else LARGE
    yield from adaptor.items()


def stored_name(name: str, *, published: bool) -> str:
    """Return a tensor's name in its file: as Hugging Face published it, or as MLX's port has it."""
    if not published:
        if name == "embed_positions.weight":
            return "embed_positions"
        return _SEQUENTIAL.sub(r"\1.layers.", name)
    if name.startswith("ln_speech."):
        return name
    if name.startswith(ADAPTOR):
        return JOINER + name
    return ENCODER + name

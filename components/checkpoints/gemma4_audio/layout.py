"""The tensors of Gemma-4's audio tower: their names, which are the checkpoint's, and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

TOWER, EMBED = "audio_tower.", "embed_audio."
BOUNDS = ("input_min", "input_max", "output_min", "output_max")
BEFORE = {
    "subsample_conv_projection.layer0.conv.weight": "first 1 3 3",
    "subsample_conv_projection.layer0.norm.weight": "first",
    "subsample_conv_projection.layer1.conv.weight": "second first 3 3",
    "subsample_conv_projection.layer1.norm.weight": "second",
    "subsample_conv_projection.input_proj_linear.weight": "width joined",
}
LAYER = {
    "feed_forward1.pre_layer_norm.weight": "width",
    "feed_forward1.post_layer_norm.weight": "width",
    "feed_forward2.pre_layer_norm.weight": "width",
    "feed_forward2.post_layer_norm.weight": "width",
    "norm_pre_attn.weight": "width",
    "norm_post_attn.weight": "width",
    "self_attn.relative_k_proj.weight": "width width",
    "self_attn.per_dim_scale": "head",
    "lconv1d.pre_layer_norm.weight": "width",
    "lconv1d.conv_norm.weight": "width",
    "lconv1d.depthwise_conv1d.weight": "width 1 kernel",
    "norm_out.weight": "width",
}
CLIPPED = {
    "feed_forward1.ffw_layer_1": "inner width",
    "feed_forward1.ffw_layer_2": "width inner",
    "feed_forward2.ffw_layer_1": "inner width",
    "feed_forward2.ffw_layer_2": "width inner",
    "self_attn.q_proj": "width width",
    "self_attn.k_proj": "width width",
    "self_attn.v_proj": "width width",
    "self_attn.post": "width width",
    "lconv1d.linear_start": "twice width",
    "lconv1d.linear_end": "width width",
}
AFTER = {
    "output_proj.weight": "rows width",
    "output_proj.bias": "rows",
}
PROJECTION = "embedding_projection.weight"
LABELS = {
    "mels": "the number of mels",
    "first": "the channels of the first convolution",
    "second": "the channels of the second convolution",
    "joined": "what the convolutions give",
    "width": "the encoder's width",
    "inner": "the width of the feed-forward layers",
    "twice": "the width of the gated convolution",
    "head": "the width of an attention head",
    "heads": "the number of attention heads",
    "kernel": "the kernel of the gated convolution",
    "layers": "the number of layers",
    "rows": "the width of the encoder's rows",
    "out": "the width of the decoder's embeddings",
}

LAYER_NUMBER = re.compile(r"audio_tower\.layers\.(\d{1,3})\.")


def tensor_shapes(layers: int, *, clipped: bool) -> Iterator[tuple[str, str]]:
    """Name every tensor with its sizes."""
    for name, sizes in BEFORE.items():
        yield TOWER + name, sizes
    for number in range(layers):
        yield from layer_shapes(f"{TOWER}layers.{number}.", LAYER, CLIPPED, clipped)
    for name, sizes in AFTER.items():
        yield TOWER + name, sizes
    yield EMBED + PROJECTION, "out rows"


def layer_shapes(
    at: str, plain: Mapping[str, str], linears: Mapping[str, str], clipped: bool
) -> Iterator[tuple[str, str]]:
    """Name the tensors of a layer; a clipped Linear has four bounds, which are scalars."""
    for name, sizes in plain.items():
        yield at + name, sizes
    for name, sizes in linears.items():
        yield f"{at}{name}.linear.weight", sizes
        if clipped:
            for bound in BOUNDS:
                yield f"{at}{name}.{bound}", ""

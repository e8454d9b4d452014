"""The tensors of Phi-4's speech conformer: their names, which are the release's, and sizes.

A tensor goes by its name below `audio_tower.`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

TOWER = "audio_tower."
PARTS = (
    TOWER, "audio_projector.", "vision_tower.", "multi_modal_projector.", "language_model.",
    "lm_head.",
)  # fmt: skip
CHECKPOINTED = "_checkpoint_wrapped_module."  # what torch's activation checkpointing puts in
BIAS_VALUES = "relative_attention_bias_layer.bias_values"
BEFORE = {
    "encoder_embedding.global_mean": "mels",
    "encoder_embedding.global_invstd": "mels",
    "embed.conv.0.weight": "channels 1 3 3",
    "embed.conv.0.bias": "channels",
    "embed.conv.2.weight": "channels 1 3 3",
    "embed.conv.2.bias": "channels",
    "embed.conv.3.weight": "channels channels 1 1",
    "embed.conv.3.bias": "channels",
    "embed.conv.5.weight": "channels 1 3 3",
    "embed.conv.5.bias": "channels",
    "embed.conv.6.weight": "channels channels 1 1",
    "embed.conv.6.bias": "channels",
    "embed.out.weight": "width joined",
    "embed.out.bias": "width",
    f"{BIAS_VALUES}.weight": "distances heads",
}
FEED_FORWARD = {
    "layer_norm.weight": "width",
    "layer_norm.bias": "width",
    "net.0.linear.weight": "gated width",
    "net.0.linear.bias": "gated",
    "net.2.weight": "width ffn",
    "net.2.bias": "width",
}
LAYER = {
    **{f"feed_forward_in.{name}": sizes for name, sizes in FEED_FORWARD.items()},
    "layer_norm_att.weight": "width",
    "layer_norm_att.bias": "width",
    "self_attn.linear_q.weight": "width width",
    "self_attn.linear_q.bias": "width",
    "self_attn.linear_k.weight": "width width",
    "self_attn.linear_k.bias": "width",
    "self_attn.linear_v.weight": "width width",
    "self_attn.linear_v.bias": "width",
    "self_attn.linear_out.weight": "width width",
    "self_attn.linear_out.bias": "width",
    "conv.layer_norm.weight": "width",
    "conv.layer_norm.bias": "width",
    "conv.glu.ext_pw_conv_1d.weight": "twice width 1",
    "conv.glu.ext_pw_conv_1d.bias": "twice",
    "conv.glu.b1": "1 width 1",
    "conv.glu.b2": "1 width 1",
    "conv.dw_sep_conv_1d.dw_conv.weight": "width 1 kernel",
    "conv.dw_sep_conv_1d.dw_conv.bias": "width",
    "conv.dw_sep_conv_1d.pw_conv.weight": "width width 1",
    "conv.dw_sep_conv_1d.pw_conv.bias": "width",
    "conv.ext_pw_conv_1d.weight": "width width 1",
    "conv.ext_pw_conv_1d.bias": "width",
    **{f"feed_forward_out.{name}": sizes for name, sizes in FEED_FORWARD.items()},
    "layer_norm.weight": "width",
    "layer_norm.bias": "width",
}
LABELS = {
    "mels": "the number of mels",
    "channels": "the channels of the convolutions",
    "joined": "what embed.out takes",
    "width": "the encoder's width",
    "ffn": "the width of the feed-forward layers",
    "gated": "the width of the gates of the feed-forward layers",
    "twice": "the width of the gated convolution",
    "kernel": "the kernel of the gated convolution",
    "distances": "the number of distances with a bias",
    "reach": "the largest distance with a bias",
    "layers": "the number of layers",
    "heads": "the number of attention heads",
}
LAYER_NUMBER = re.compile(r"encoders\.(\d{1,3})\.")
FIRST = next(iter(BEFORE))


def tensor_shapes(layers: int) -> Iterator[tuple[str, str]]:
    """Name every tensor, with the names of its sizes."""
    yield from BEFORE.items()
    for number in range(layers):
        for name, sizes in LAYER.items():
            yield f"encoders.{number}.{name}", sizes

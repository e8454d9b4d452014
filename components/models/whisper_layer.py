"""The pre-norm block of encoders that are shaped like Whisper's."""

from __future__ import annotations

from composer.core.calibration import Fold

from .blocks import Array, Blocks

EPS = 1e-5
F16_MOST = 65504.0 - 1000.0  # transformers keeps float16 hidden states within this


def layer(nn: Blocks, at: str, num_heads: int, x: Array) -> Array:
    """Map hidden states [N, d] through one pre-norm block, where all rows attend to each other."""
    y = nn.layer_norm(x, f"{at}self_attn_layer_norm", EPS)
    q, k, values = (nn.linear(y, f"{at}self_attn.{name}_proj") for name in "qkv")
    attended = nn.like(nn.attention(q, k, values, num_heads), x)
    x = x + nn.linear(attended, f"{at}self_attn.out_proj")
    y = nn.linear(nn.layer_norm(x, f"{at}final_layer_norm", EPS), f"{at}fc1")
    return nn.clip_float16(x + nn.linear(nn.gelu(y), f"{at}fc2"), F16_MOST)


def folds(at: str) -> tuple[Fold, ...]:
    """Return where scales of columns can move in a block: into its norms, and into the values."""
    attention = f"{at}self_attn."
    return (
        Fold(f"{at}self_attn_layer_norm", tuple(f"{attention}{name}_proj" for name in "qkv")),
        Fold(f"{attention}v_proj", (f"{attention}out_proj",)),
        Fold(f"{at}final_layer_norm", (f"{at}fc1",)),
    )

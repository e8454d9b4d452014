"""How the rows of a decoder attend to themselves and to those before them."""

from __future__ import annotations

from dataclasses import dataclass

from .rotary import Rotary


@dataclass(frozen=True)
class Attention:
    """Heads of queries, which share those of keys and values, and the scale of their products.

    Queries and keys turn by `rotary`. A row sees `window` rows, itself included, or all of them.
    `softcap` bounds the products: each becomes softcap tanh(product / softcap).
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    rotary: Rotary
    window: int | None = None
    softcap: float | None = None

"""SigLIP's vision tower in Gemma 3: patches, a transformer, a pool of squares and a projection.

The formulas are those of transformers' SiglipVisionModel and Gemma3MultiModalProjector, for one
picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from composer.core.calibration import Fold
from composer.core.component import Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.core.family import Family
from composer.formats import Headers

from ..checkpoints.file_stamps import require_unchanged
from ..checkpoints.siglip.checkpoint import Tower, read_tower
from ..checkpoints.siglip.layout import EMBEDDING, NORM, POSITIONS, PROJECTION, TOWER
from .blocks import Array, Blocks
from .encoder import encoder_facts, encoder_network, require_finite_rows
from .network import Network
from .watched import WatchedComponent

if TYPE_CHECKING:
    from composer.core.placement import Placement

PORTS = {"C": "colours", "H": "pixels", "W": "pixels", "N": "rows", "D": "out"}


@dataclass(frozen=True)
class SiglipSettings:
    """The sizes that the network needs: `grid` x `grid` patches, in squares of `pool` x `pool`."""

    num_layers: int
    num_heads: int
    width: int
    side: int
    grid: int
    pool: int
    eps: float


def encode(settings: SiglipSettings, nn: Blocks, pixels: Array) -> Array:
    """Map pixels [3, H, W] to rows [N, D] as they stand among scaled embeddings."""
    x = embed(settings, nn, pixels)
    for number in range(settings.num_layers):
        x = nn.evaluate(layer(settings, nn, f"{TOWER}encoder.layers.{number}.", x))
    x = nn.layer_norm(x, f"{TOWER}post_layernorm", settings.eps)
    return project(settings, nn, pool(settings, nn, x))


def embed(settings: SiglipSettings, nn: Blocks, pixels: Array) -> Array:
    """Map pixels [3, H, W] to hidden states [P, d] of patches, row by row, positions included."""
    bias = nn.weight(f"{EMBEDDING}.bias")
    x = nn.transpose(nn.like(pixels, bias), 1, 2, 0)
    x = nn.like(nn.convolution(x, EMBEDDING, stride=settings.side), bias)
    return nn.reshape(x, -1, settings.width) + nn.like(nn.weight(f"{POSITIONS}.weight"), x)


def layer(settings: SiglipSettings, nn: Blocks, at: str, x: Array) -> Array:
    """Map hidden states [P, d] through one pre-norm block, where all patches see each other."""
    y = nn.layer_norm(x, f"{at}layer_norm1", settings.eps)
    q, k, values = (nn.linear(y, f"{at}self_attn.{name}_proj") for name in "qkv")
    attended = nn.like(nn.attention(q, k, values, settings.num_heads), x)
    x = x + nn.linear(attended, f"{at}self_attn.out_proj")
    y = nn.linear(nn.layer_norm(x, f"{at}layer_norm2", settings.eps), f"{at}mlp.fc1")
    return x + nn.linear(nn.gelu_tanh(y), f"{at}mlp.fc2")


def pool(settings: SiglipSettings, nn: Blocks, x: Array) -> Array:
    """Map hidden states [P, d] to the means [N, d] of squares of patches."""
    rows, size = settings.grid // settings.pool, settings.pool
    x = nn.reshape(x, rows, size, rows, size, settings.width)
    sums = nn.sum(nn.sum(x, 1), 2)
    return nn.reshape(sums * (1 / size**2), -1, settings.width)


def project(settings: SiglipSettings, nn: Blocks, x: Array) -> Array:
    """Map pooled rows [N, d] to [N, D]: a norm whose weight 1 is added to, and a product.

    The weight is stored as [d, D], not as a Linear's.
    """
    x = nn.rms_norm(x, NORM, settings.eps, offset=1.0)
    return nn.matmul(x, nn.weight(PROJECTION))


class Siglip(WatchedComponent, Family, name="siglip"):
    """Turn the pixels of a picture into rows of Gemma 3's embeddings by its vision tower.

    It takes the pixels of `image.pixels`, as many as the tower has positions for, and gives as
    many rows as the config says, in the space `embed_scaled` of the decoder. It reads
    `vision_tower.*` and `multi_modal_projector.*` of a checkpoint, in the layout of Google or of
    MLX; the rest is another component's. Matrices may be packed, in their file or by a recipe of
    `precision`.
    """

    requires = frozenset({"weights"})
    accepts = frozenset({"precision"})

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind the pixels and the rows of a picture, and D from the projection."""
        if headers is None:
            return Facts(unknown=True)
        tower = read_tower(spec, headers)
        assert spec.weights is not None
        return encoder_facts(spec.weights, network(tower), cls.runs_on, tower, PORTS)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the tensors, one at a time, in the precision that is asked for."""
        tower = read_tower(spec, Headers())
        require_unchanged(facts)
        return cls(cls.runs_on.compile(network(tower), placement), tower.sizes["pixels"])

    def __init__(self, run: Callable[..., Any], pixels: int) -> None:
        self.run = run
        self.pixels = pixels

    @method(pixels="f32 C H W", returns="N D")
    def __call__(self, pixels: Any) -> Any:
        """Map the pixels of one picture [3, H, W] to its rows [N, D]."""
        if tuple(pixels.shape) != (3, self.pixels, self.pixels):
            has = " x ".join(map(str, pixels.shape))
            message = f"pixels are {has}; expected 3 x {self.pixels} x {self.pixels}"
            hint = (
                f"let image.pixels scale the picture: size: {{height: {self.pixels}, width: ...}}"
            )
            raise ComposerError(Problem("R550", message, hint=hint))
        return require_finite_rows(self.runs_on, [self.run(pixels)], "vision tower")


def network(tower: Tower) -> Network:
    """Return the network of one picture."""
    sizes = tower.sizes
    settings = SiglipSettings(
        num_layers=sizes["layers"],
        num_heads=sizes["heads"],
        width=sizes["width"],
        side=sizes["side"],
        grid=sizes["pixels"] // sizes["side"],
        pool=tower.pool,
        eps=tower.eps,
    )
    inputs = {"pixels": (3, sizes["pixels"], sizes["pixels"])}
    made = encoder_network(tower, partial(encode, settings), inputs, sizes["out"])
    found: list[Fold] = []
    for number in range(settings.num_layers):
        found += folds(f"{TOWER}encoder.layers.{number}.")
    return replace(made, folds=tuple(found))


def folds(at: str) -> tuple[Fold, ...]:
    """Return where scales of columns can move in a block: into its norms, and into the values."""
    attention = f"{at}self_attn."
    return (
        Fold(f"{at}layer_norm1", tuple(f"{attention}{name}_proj" for name in "qkv")),
        Fold(f"{attention}v_proj", (f"{attention}out_proj",)),
        Fold(f"{at}layer_norm2", (f"{at}mlp.fc1",)),
    )

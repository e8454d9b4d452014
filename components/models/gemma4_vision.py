"""Gemma-4's vision tower: patches, a transformer that rotates by x and by y, and a pool of squares.

The formulas are those of transformers' Gemma4VisionModel and its multimodal embedder, for one
picture without padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from composer.core.component import Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.core.family import Family
from composer.formats import Headers

from ..checkpoints.file_stamps import require_unchanged
from ..checkpoints.gemma4_vision.checkpoint import Tower, read_tower
from ..checkpoints.gemma4_vision.layout import EMBED, STANDARDIZED, TABLE, TOWER
from .blocks import Array, Blocks
from .clipped_linear import clipped_linear
from .encoder import encoder_facts, encoder_network, require_finite_rows
from .network import Dims, Network
from .rotary import Rotary
from .watched import WatchedComponent

if TYPE_CHECKING:
    from composer.core.placement import Placement

STD_BIAS, STD_SCALE = STANDARDIZED


@dataclass(frozen=True)
class Settings:
    """The sizes that the network needs, and the numbers that no tensor shows.

    `positions` is how many columns and rows of patches there can be; squares of `pool` x `pool`
    patches become one row.
    """

    num_layers: int
    hidden_size: int
    num_heads: int
    head_dim: int
    positions: int
    pool: int
    theta: float
    rms_norm_eps: float
    standardize: bool


def encode(nn: Blocks, settings: Settings, patches: Array, columns: Array, rows: Array) -> Array:
    """Map patches [N, P], square by square, to rows [N / pool^2, D] of the decoder's embeddings.

    `columns` and `rows` [N] say where each patch is.
    """
    x = embed(nn, settings, patches, columns, rows)
    rotations = rotary_tables(nn, settings, columns, rows)
    for number in range(settings.num_layers):
        x = nn.evaluate(layer(nn, f"{TOWER}encoder.layers.{number}.", settings, x, rotations))
    return project(nn, settings, pool(nn, settings, x))


def embed(nn: Blocks, settings: Settings, patches: Array, columns: Array, rows: Array) -> Array:
    """Map patches [N, P] of numbers 0 to 1 to hidden states [N, d], positions included."""
    name = f"{TOWER}patch_embedder.input_proj"
    stored = nn.weight(TABLE)
    x = nn.linear(nn.like((patches - 0.5) * 2.0, stored), name)
    table = nn.reshape(stored, -1, settings.hidden_size)
    below = nn.gather(table, rows + nn.constant(np.array(settings.positions)))
    return x + nn.like(nn.gather(table, columns) + below, x)


def rotary_tables(
    nn: Blocks, settings: Settings, columns: Array, rows: Array
) -> list[tuple[Array, Array]]:
    """Return cosine and sine [N, 1, head_dim / 4] of the angles by column and by row."""
    rotary = Rotary(settings.head_dim // 2, settings.theta)
    tables = [nn.constant(table) for table in rotary.table(0, settings.positions)]
    found = []
    for at in (columns, rows):
        cosine, sine = (nn.expand(nn.gather(table, at), 1) for table in tables)
        found.append((cosine, sine))
    return found


def layer(
    nn: Blocks, at: str, settings: Settings, x: Array, rotations: list[tuple[Array, Array]]
) -> Array:
    """Map hidden states [N, d] through one layer, each part normalized before and after."""
    eps = settings.rms_norm_eps
    y = nn.rms_norm(x, f"{at}input_layernorm", eps)
    y = attention(nn, f"{at}self_attn.", settings, y, rotations)
    x = x + nn.rms_norm(y, f"{at}post_attention_layernorm", eps)
    y = nn.rms_norm(x, f"{at}pre_feedforward_layernorm", eps)
    y = nn.gelu_tanh(clipped_linear(nn, f"{at}mlp.gate_proj", y)) * clipped_linear(
        nn, f"{at}mlp.up_proj", y
    )
    y = clipped_linear(nn, f"{at}mlp.down_proj", y)
    return x + nn.rms_norm(y, f"{at}post_feedforward_layernorm", eps)


def attention(
    nn: Blocks, at: str, settings: Settings, x: Array, rotations: list[tuple[Array, Array]]
) -> Array:
    """Let every patch [N, d] attend to all; half of a head rotates by column, half by row."""
    heads, head, eps = settings.num_heads, settings.head_dim, settings.rms_norm_eps
    q, k, v = (
        nn.reshape(clipped_linear(nn, f"{at}{name}_proj", x), -1, heads, head) for name in "qkv"
    )
    q = rotated(nn, nn.rms_norm(q, f"{at}q_norm", eps), rotations)
    k = rotated(nn, nn.rms_norm(k, f"{at}k_norm", eps), rotations)
    v = nn.rms_norm(v, None, eps)
    q, k, v = (nn.reshape(each, -1, heads * head) for each in (q, k, v))
    return clipped_linear(nn, f"{at}o_proj", nn.like(nn.attention(q, k, v, heads, 1.0), x))


def rotated(nn: Blocks, x: Array, rotations: list[tuple[Array, Array]]) -> Array:
    """Rotate heads [N, heads, head_dim]: their first half by the column, the second by the row."""
    parts = []
    for half, (cosine, sine) in zip(nn.halves(x), rotations, strict=True):
        first, second = nn.halves(half)
        cosine, sine = nn.like(cosine, x), nn.like(sine, x)
        parts += [first * cosine - second * sine, second * cosine + first * sine]
    return nn.concat(parts)


def pool(nn: Blocks, settings: Settings, x: Array) -> Array:
    """Map hidden states [N, d] to the means of squares [N / pool^2, d], scaled, in float32."""
    square = settings.pool**2
    means = nn.sum(nn.reshape(nn.float32(x), -1, square, settings.hidden_size), 1) * (1 / square)
    y = nn.float32(nn.like(means, x)) * settings.hidden_size**0.5
    if settings.standardize:
        y = (y - nn.float32(nn.weight(STD_BIAS))) * nn.float32(nn.weight(STD_SCALE))
    return nn.like(y, x)


def project(nn: Blocks, settings: Settings, x: Array) -> Array:
    """Map pooled rows [N, d] to rows [N, D] as they stand among scaled embeddings."""
    x = nn.rms_norm(x, None, settings.rms_norm_eps)
    return nn.linear(x, f"{EMBED}embedding_projection")


class Gemma4Vision(WatchedComponent, Family, name="gemma4_vision"):
    """Turn the patches of a picture into rows of Gemma-4's embeddings by its vision tower.

    It takes the patches of `image.gemma4` and gives a row for every square of them, 3 x 3 in all
    published ones, row by row, in the space of gemma4's `embed`. It reads `vision_tower.*` and
    `embed_vision.*` of a checkpoint, in the layout of transformers or of MLX; the rest is another
    component's. Matrices may be packed, in their file or by a recipe of `precision`.
    """

    requires = frozenset({"weights"})
    accepts = frozenset({"precision"})

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind P, the numbers of a patch, and D from the first and the last Linear."""
        if headers is None:
            return Facts(unknown=True)
        tower = read_tower(spec, headers)
        assert spec.weights is not None
        sizes = {"P": "patch", "D": "out"}
        return encoder_facts(spec.weights, network(tower), cls.runs_on, tower, sizes)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the tensors, one at a time, in the precision that is asked for."""
        tower = read_tower(spec, Headers())
        require_unchanged(facts)
        run = cls.runs_on.compile(network(tower), placement)
        return cls(run, tower.settings.pool, tower.sizes["positions"])

    def __init__(self, run: Callable[..., Any], pool: int, positions: int) -> None:
        self.run = run
        self.pool = pool
        self.positions = positions

    @method(patches="f32 R C P", returns="N D")
    def __call__(self, patches: Any) -> Any:
        """Map the patches of one picture [R, C, P] to rows [R C / pool^2, D]."""
        rows, columns, width = patches.shape
        self._check(rows, columns)
        squares = patches.reshape(rows // self.pool, self.pool, -1, self.pool, width)
        squares = squares.transpose(0, 2, 1, 3, 4).reshape(-1, width)
        places = np.indices((rows, columns)).reshape(2, rows // self.pool, self.pool, -1, self.pool)
        below, right = places.transpose(0, 1, 3, 2, 4).reshape(2, -1)
        backend = self.runs_on
        made = self.run(squares, *(backend.from_numpy(at, "i64") for at in (right, below)))
        return require_finite_rows(backend, [made], "vision tower")

    def _check(self, rows: int, columns: int) -> None:
        """Raise R550 unless the patches make whole squares, each with positions."""
        if rows == 0 or columns == 0 or rows % self.pool or columns % self.pool:
            message = f"{rows} x {columns} patches make no squares of {self.pool} x {self.pool}"
            hint = f"let image.gemma4 prepare the picture, with pooling_kernel_size {self.pool}"
            raise ComposerError(Problem("R550", message, hint=hint))
        if max(rows, columns) > self.positions:
            message = f"{rows} x {columns} patches are more than the tower's {self.positions}"
            raise ComposerError(Problem("R550", f"{message} positions"))


def network(tower: Tower) -> Network:
    """Return the network of one picture."""
    sizes = tower.sizes
    settings = Settings(
        num_layers=sizes["layers"],
        hidden_size=sizes["width"],
        num_heads=sizes["heads"],
        head_dim=sizes["head"],
        positions=sizes["positions"],
        pool=tower.settings.pool,
        theta=tower.settings.theta,
        rms_norm_eps=tower.settings.rms_norm_eps,
        standardize=STD_SCALE in tower.tensors,
    )
    places: dict[str, Dims] = {"patch_columns": ("N",), "patch_rows": ("N",)}
    inputs: dict[str, Dims] = {"patches": ("N", sizes["patch"]), **places}
    made = encoder_network(tower, partial(forward, settings), inputs, sizes["out"])
    return replace(made, row_numbers=frozenset(places))


def forward(settings: Settings, nn: Blocks, patches: Array, columns: Array, rows: Array) -> Array:
    """Run the network as a `Network` takes it: settings bound, the blocks first."""
    return encode(nn, settings, patches, columns, rows)

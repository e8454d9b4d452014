"""Find SigLIP's vision tower in a Gemma 3 checkpoint and check it against its config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import filterfalse
from math import isqrt
from typing import TYPE_CHECKING, Any

from composer.core.component import Bound, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats.file_problems import show_bare
from composer.formats.safetensors import Tensor

from ..dequantized import dequantized_headers
from ..encoder_checkpoint import EncoderCheckpoint
from ..encoder_config import refuse_unread
from ..encoder_packing import packed_modules
from ..folder import folder_of, optional_config
from ..layout import ExpectedSetting, LayoutChecker, count_layers, describe_bound
from ..rope import DERIVED
from . import layout

if TYPE_CHECKING:
    from composer.formats import Headers

COLOURS = 3
ROWS, EPS = 256, 1e-6  # where a config is silent, as transformers has them
SIZES = {
    "hidden_size": "width",
    "intermediate_size": "inner",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "num_channels": "colours",
    "patch_size": "side",
    "image_size": "pixels",
}
FIXED = {
    "model_type": "siglip_vision_model",
    "hidden_act": "gelu_pytorch_tanh",
    "vision_use_head": False,
}
READ = ("layer_norm_eps", "skip_vision")  # mlx-vlm states whether it left the tower unquantized


@dataclass(frozen=True, kw_only=True)
class Tower(EncoderCheckpoint):
    """The vision tower of a Gemma 3; `pool` x `pool` patches become one row."""

    pool: int
    eps: float


def read_tower(spec: Spec, headers: Headers) -> Tower:
    """Read the headers at the spec's weights; raise ComposerError with all that contradicts."""
    assert spec.weights is not None
    checker = LayoutChecker("siglip", spec.weights, layout.LABELS, "a vision tower")
    folder = folder_of(spec.weights)
    file, config = folder / "config.json", optional_config(folder, headers)
    own = _own(checker, headers.safetensors(spec.weights))
    vision = config.get("vision_config")
    if not isinstance(vision, dict) or "num_attention_heads" not in vision:
        checker.report(
            "W274",
            f"{file} has no vision_config.num_attention_heads, which no tensor shows",
            hint="take the config.json that belongs to the checkpoint",
        )
        raise ComposerError(checker.problems)
    plain, schemes = dequantized_headers(checker, config, "model.", own)
    layers = count_layers(own, layout.LAYER_NUMBER)
    wanted = dict(layout.tensor_shapes(layers))
    checker.match(plain, {name: name for name in wanted})
    checker.bind(wanted)
    dtype = checker.precision(spec.dtype)
    known = {**checker.dims, "layers": Bound(layers, f"{checker.location}: its layers")}
    known["colours"] = Bound(COLOURS, f"{checker.location}: {layout.EMBEDDING}.weight")
    grid = _read_grid(checker, known)
    refuse_unread(checker, file, "vision_config", vision, (*SIZES, *FIXED, *READ))
    checker.configure(_expected(file, vision), known)
    pool = _read_pool(checker, file, config, grid, known)
    packed = packed_modules(checker, spec, own, plain, schemes, {f"{layout.POSITIONS}.weight"})
    eps = vision.get("layer_norm_eps", EPS)
    if type(eps) is not float or not 0 < eps < 1:
        stated = f"{show_bare(eps)} comes from {file}: vision_config.layer_norm_eps"
        checker.report("W273", "vision_config.layer_norm_eps is no number between 0 and 1", stated)
    checker.refuse()
    return Tower(
        tensors=checker.tensors,
        dims=known,
        dtype=dtype,
        torch_ordered=frozenset(checker.torch_ordered),
        configs=(file,),
        notes=tuple(checker.problems),
        packed=packed,
        pool=pool,
        eps=eps,
    )


def _own(checker: LayoutChecker, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tower's tensors by their names in the layout; raise W222 where it has none."""
    own: dict[str, Tensor] = {}
    twice, others = [], []
    for name, tensor in stored.items():
        short = layout.own_name(name)
        if not short.startswith((layout.TOWER, layout.PROJECTOR)):
            others.append(short)
            continue
        if short in own:
            twice.append(short)
        own[short] = tensor
    if twice:
        checker.report("W271", "tensors are there twice, with model. before them too", *twice)
    if not any(name.startswith(layout.TOWER) for name in own):
        hint = "a text decoder alone, such as a converted one, has none"
        checker.report("W222", f"{checker.location} has no vision_tower.*", hint=hint)
        raise ComposerError(checker.problems)
    checker.refuse_strays(filterfalse(DERIVED.search, others), layout.PARTS)
    return own


def _read_grid(checker: LayoutChecker, known: dict[str, Bound]) -> int:
    """Return how many patches a side of a picture has, and bind its pixels."""
    positions, side = known.get("positions"), known.get("side")
    if positions is None or side is None:
        return 1
    grid = isqrt(positions.value)
    if grid**2 != positions.value:
        what = f"{layout.LABELS['positions']} is no square number"
        checker.report("W272", what, describe_bound(positions))
    known["pixels"] = Bound(grid * side.value, positions.witness)
    return grid


def _expected(file: Location, vision: Mapping[str, Any]) -> Iterator[ExpectedSetting]:
    for key, value in vision.items():
        if key in SIZES or key in FIXED:
            at = f"vision_config.{key}"
            yield ExpectedSetting(file, at, value, SIZES.get(key), FIXED.get(key))


def _read_pool(
    checker: LayoutChecker,
    file: Location,
    config: Mapping[str, Any],
    grid: int,
    known: dict[str, Bound],
) -> int:
    """Return the side of the squares of patches that become a row, and bind the rows."""
    width, heads = known.get("width"), known.get("heads")
    if width and heads and width.value % heads.value:
        what = f"{heads.value} attention heads do not divide a width of {width.value}"
        checker.report("W274", what, describe_bound(heads), describe_bound(width))
    rows = config.get("mm_tokens_per_image", ROWS)
    stated = f"{show_bare(rows)} comes from {file}: mm_tokens_per_image"
    side = isqrt(rows) if type(rows) is int and rows > 0 else 0
    if not side or side**2 != rows or grid % side:
        what = f"{grid} x {grid} patches make no squares of which there are mm_tokens_per_image"
        checker.report("W273", what, stated)
        return 1
    known["rows"] = Bound(rows, f"{file}: mm_tokens_per_image")
    return grid // side

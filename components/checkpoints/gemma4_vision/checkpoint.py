"""Find the vision tower in a Gemma-4 checkpoint and check it against its config."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

from composer.core.component import Bound, Spec
from composer.core.errors import ComposerError

from ..dequantized import dequantized_headers
from ..encoder_checkpoint import EncoderCheckpoint
from ..encoder_packing import packed_modules
from ..gemma4.towers import open_towers, own_tensors
from ..gguf.tower import widened
from ..layout import LayoutChecker, count_layers, describe_bound
from . import layout
from .settings import Settings, check_flag, expected_settings, read_settings

if TYPE_CHECKING:
    from composer.formats import Headers

COLOURS = 3


@dataclass(frozen=True, kw_only=True)
class Tower(EncoderCheckpoint):
    """The vision tower of a Gemma-4 checkpoint."""

    settings: Settings


def read_tower(spec: Spec, headers: Headers) -> Tower:
    """Read the headers at the spec's weights; raise ComposerError with all that contradicts."""
    assert spec.weights is not None
    checker = LayoutChecker("gemma4_vision", spec.weights, layout.LABELS, "a vision tower")
    checker.tables.add(layout.TABLE)
    file, config, index = open_towers(spec.weights, headers)
    hint = "a text decoder alone, such as a converted one, has none"
    own = own_tensors(checker, index, layout.TOWER, layout.EMBED, hint)
    vision = config.get("vision_config")
    if not isinstance(vision, dict):
        checker.report(
            "W274",
            f"{file} has no vision_config, which says how many patches become a row",
            hint="take the config.json that belongs to the checkpoint",
        )
        raise ComposerError(checker.problems)
    plain, schemes = dequantized_headers(checker, config, "model.", own)
    plain, in_blocks = widened(checker, spec, plain)
    layers = count_layers(own, layout.LAYER_NUMBER)
    clipped = any(name.endswith(".input_min") for name in own)
    standardized = any(name in own for name in layout.STANDARDIZED)
    wanted = dict(layout.tensor_shapes(layers, clipped=clipped, standardized=standardized))
    checker.match(plain, {name: name for name in wanted})
    checker.bind(wanted)
    dtype = checker.precision(spec.dtype)
    known = {**checker.dims, "layers": Bound(layers, f"{checker.location}: its layers")}
    _relate(checker, known)
    checker.configure(expected_settings(file, vision), known)
    check_flag(checker, file, vision, "use_clipped_linears", clipped, "input_min of a layer")
    check_flag(checker, file, vision, "standardize", standardized, f"{layout.TOWER}std_scale")
    found = read_settings(checker, file, vision)
    packed = packed_modules(checker, spec, own, plain, schemes)
    checker.refuse()
    return Tower(
        tensors=checker.tensors,
        dims=known,
        dtype=dtype,
        torch_ordered=frozenset(checker.torch_ordered),
        configs=(file,),
        notes=tuple(checker.problems),
        packed={**packed, **in_blocks},
        settings=found,
    )


def _relate(checker: LayoutChecker, known: dict[str, Bound]) -> None:
    """Check the sizes that follow from each other, and bind the heads and the side of a patch."""
    attended, head = known.get("attended"), known.get("head")
    if patch := known.get("patch"):
        known["side"] = Bound(isqrt(patch.value // COLOURS), patch.witness)
    if head and head.value % 4:
        what = f"{layout.LABELS['head']} is no multiple of 4, so that its pairs turn by x and by y"
        checker.report("W272", what, describe_bound(head))
    if attended and head:
        known["heads"] = Bound(attended.value // head.value, attended.witness)
        if attended.value % head.value:
            what = f"{layout.LABELS['attended']} is no multiple of {layout.LABELS['head']}"
            checker.report("W272", what, describe_bound(attended), describe_bound(head))

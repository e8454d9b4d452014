"""Find the audio tower in a Gemma-4 checkpoint and check it against its config."""

from __future__ import annotations

from dataclasses import dataclass
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
from .settings import (
    AudioSettings,
    check_clipped_linears,
    expected_settings,
    read_settings,
    sizes_from_tensors,
)

if TYPE_CHECKING:
    from composer.formats import Headers


@dataclass(frozen=True, kw_only=True)
class Tower(EncoderCheckpoint):
    """The audio tower of a Gemma-4 checkpoint."""

    layers: int
    settings: AudioSettings


def read_tower(spec: Spec, headers: Headers) -> Tower:
    """Read the headers at the spec's weights; raise ComposerError with all that contradicts."""
    assert spec.weights is not None
    checker = LayoutChecker("mlx.gemma4_audio", spec.weights, layout.LABELS)
    file, config, index = open_towers(spec.weights, headers)
    hint = "of Gemma-4, E2B and E4B have an audio tower; 26B-A4B and 31B have none"
    own = own_tensors(checker, index, layout.TOWER, layout.EMBED, hint)
    audio = config.get("audio_config")
    if not isinstance(audio, dict):
        checker.report(
            "W274",
            f"{file} has no audio_config, which says how many frames one attends to",
            hint="take the config.json that belongs to the checkpoint",
        )
        raise ComposerError(checker.problems)
    plain, schemes = dequantized_headers(checker, config, "model.", own)
    plain, in_blocks = widened(checker, spec, plain)
    layers = count_layers(own, layout.LAYER_NUMBER)
    clipped = any(name.endswith(".input_min") for name in own)
    wanted = dict(layout.tensor_shapes(layers, clipped=clipped))
    checker.match(plain, {name: name for name in wanted})
    checker.bind(wanted)
    _relate(checker)
    dtype = checker.precision(spec.dtype)
    checker.configure(expected_settings(file, audio), sizes_from_tensors(checker, layers))
    check_clipped_linears(checker, file, audio, clipped)
    found = read_settings(checker, file, audio)
    packed = packed_modules(checker, spec, own, plain, schemes)
    checker.refuse()
    return Tower(
        tensors=checker.tensors,
        dims=checker.dims,
        dtype=dtype,
        torch_ordered=frozenset(checker.torch_ordered),
        configs=(file,),
        notes=tuple(checker.problems),
        packed={**packed, **in_blocks},
        layers=layers,
        settings=found,
    )


def _relate(checker: LayoutChecker) -> None:
    """Check the sizes that follow from each other, and bind the mels."""
    dims = checker.dims
    for size, times, other in (("twice", 2, "width"), ("inner", 4, "width")):
        if {size, other} <= dims.keys() and dims[size].value != times * dims[other].value:
            what = f"{layout.LABELS[size]} is not {times} times {layout.LABELS[other]}"
            checker.report("W272", what, describe_bound(dims[size]), describe_bound(dims[other]))
    for size, part in (("width", "head"), ("joined", "second")):
        if {size, part} <= dims.keys() and dims[size].value % dims[part].value:
            what = f"{layout.LABELS[size]} is no multiple of {layout.LABELS[part]}"
            checker.report("W272", what, describe_bound(dims[size]), describe_bound(dims[part]))
    if {"joined", "second"} <= dims.keys():
        joined = dims["joined"]
        dims["mels"] = Bound(4 * (joined.value // dims["second"].value), joined.witness)

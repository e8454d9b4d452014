"""Find the audio encoder in a Qwen3-ASR checkpoint and check it against its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import filterfalse
from typing import TYPE_CHECKING, Any

from composer.core.component import Bound, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats.gguf import SUFFIX as GGUF
from composer.formats.safetensors import Tensor

from ..dequantized import dequantized_headers
from ..encoder_checkpoint import EncoderCheckpoint
from ..encoder_packing import packed_modules
from ..folder import folder_of, optional_config
from ..gguf.tower import read_tower_file, widened
from ..layout import LayoutChecker, count_layers, describe_bound
from ..rope import DERIVED
from . import layout
from .settings import AttentionWindows, audio_config, expected_settings, read_windows

if TYPE_CHECKING:
    from composer.formats import Headers

FIRST = f"{layout.TOWER}conv2d1.weight"


@dataclass(frozen=True, kw_only=True)
class AudioEncoder(EncoderCheckpoint):
    """The audio encoder of a Qwen3-ASR checkpoint."""

    windows: AttentionWindows


def read_encoder(spec: Spec, headers: Headers) -> AudioEncoder:
    """Read the headers at the spec's weights; raise ComposerError with all that contradicts."""
    assert spec.weights is not None
    checker = LayoutChecker("qwen3_asr_audio", spec.weights, layout.LABELS)
    file, config, stored = _open(spec.weights, headers)
    prefix, own = _own(checker, stored)
    at, audio = audio_config(checker, file, config)
    plain, schemes = dequantized_headers(checker, config, prefix + layout.TOWER, own)
    plain, in_blocks = widened(checker, spec, plain)
    layers = count_layers(own, layout.LAYER_NUMBER)
    wanted = dict(layout.tensor_shapes(layers))
    checker.match(plain, {name: name for name in wanted})
    checker.bind(wanted)
    dtype = checker.precision(spec.dtype)
    known = {**checker.dims, "layers": Bound(layers, f"{checker.location}: its layers")}
    checker.configure(expected_settings(checker, file, at, audio), known)
    _relate(checker, known)
    windows = read_windows(checker, file, at, audio)
    packed = packed_modules(checker, spec, own, plain, schemes)
    checker.refuse()
    return AudioEncoder(
        tensors=checker.tensors,
        dims=known,
        dtype=dtype,
        torch_ordered=frozenset(checker.torch_ordered),
        configs=(file,),
        notes=tuple(checker.problems),
        packed={**packed, **in_blocks},
        windows=windows,
    )


def _open(
    weights: Location, headers: Headers
) -> tuple[Location, Mapping[str, Any], Mapping[str, Tensor]]:
    """Return where the config stands, what it says, and all tensors: a folder's, or a file's."""
    if weights.inside.endswith(GGUF):
        return weights, *read_tower_file(weights, headers)
    folder = folder_of(weights)
    return folder / "config.json", optional_config(folder, headers), headers.safetensors(weights)


def _own(checker: LayoutChecker, stored: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Return the encoder's tensors by their short names, and what stands before the tower's."""
    prefixes = [name.removesuffix(FIRST) for name in stored if name.endswith(FIRST)]
    if len(prefixes) != 1:
        found = "several" if prefixes else "no"
        checker.report("W222", f"{checker.location} has {found} {FIRST}", *prefixes)
        raise ComposerError(checker.problems)
    own = {}
    for name, tensor in stored.items():
        short = layout.short_name(name, prefixes[0])
        if short is not None:
            own[short] = tensor
    others = (name.removeprefix(prefixes[0]) for name in stored if name.startswith(prefixes[0]))
    checker.refuse_strays(filterfalse(DERIVED.search, others), layout.PARTS)
    return prefixes[0], own


def _relate(checker: LayoutChecker, known: Mapping[str, Bound]) -> None:
    """Check the sizes that follow from each other."""
    width, heads = known.get("width"), known.get("heads")
    if width and heads and width.value % heads.value:
        what = f"{heads.value} attention heads do not divide a width of {width.value}"
        checker.report("W274", what, describe_bound(heads), describe_bound(width))
    if {"channels", "joined", "mels"} <= known.keys():
        channels, joined, mels = known["channels"], known["joined"], known["mels"]
        if joined.value != channels.value * -(-mels.value // 8):
            what = f"conv_out takes {joined.value} numbers, not an eighth of the mels by channel"
            checker.report(
                "W272", what, describe_bound(joined), describe_bound(channels), describe_bound(mels)
            )

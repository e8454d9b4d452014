"""Find Phi-4's speech conformer in a checkpoint and check it against its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from composer.core.component import Bound, Spec
from composer.core.errors import ComposerError
from composer.formats.safetensors import Tensor

from ..dequantized import dequantized_headers
from ..encoder_checkpoint import EncoderCheckpoint
from ..encoder_packing import packed_modules
from ..folder import folder_of, optional_config
from ..layout import LayoutChecker, count_layers, describe_bound
from . import layout
from .settings import expected_settings

if TYPE_CHECKING:
    from composer.formats import Headers


def read_encoder(spec: Spec, headers: Headers) -> EncoderCheckpoint:
    """Read the headers at the spec's weights; raise ComposerError with all that contradicts."""
    assert spec.weights is not None
    checker = LayoutChecker("phi4_audio", spec.weights, layout.LABELS)
    file = folder_of(spec.weights) / "config.json"
    config = optional_config(folder_of(spec.weights), headers)
    own = _own(checker, headers.safetensors(spec.weights))
    plain, schemes = dequantized_headers(checker, config, layout.TOWER, own)
    layers = count_layers(own, layout.LAYER_NUMBER)
    wanted = dict(layout.tensor_shapes(layers))
    # A table of numbers that nothing is multiplied by: it goes without the end of a Linear's name.
    table = f"{layout.BIAS_VALUES}.weight"
    places = {name: name for name in wanted} | {table: layout.BIAS_VALUES}
    checker.tables.update(name for name in wanted if name.endswith((".b1", ".b2")))
    checker.match(plain, places)
    checker.bind({**wanted, layout.BIAS_VALUES: wanted[table]})
    dtype = checker.precision(spec.dtype)
    known = {**checker.dims, "layers": Bound(layers, f"{checker.location}: its layers")}
    _relate(checker, known)
    audio = config.get("audio_config")
    if isinstance(audio, dict):
        checker.configure(expected_settings(checker, file, audio), known)
    packed = packed_modules(checker, spec, own, plain, schemes, (layout.BIAS_VALUES,))
    checker.refuse()
    return EncoderCheckpoint(
        tensors=checker.tensors,
        dims=known,
        dtype=dtype,
        torch_ordered=frozenset(checker.torch_ordered),
        configs=(file,) if config else (),
        notes=tuple(checker.problems),
        packed=packed,
    )


def _own(checker: LayoutChecker, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the conformer's tensors by their names in the layout."""
    first = layout.TOWER + layout.FIRST
    prefixes = [name.removesuffix(first) for name in stored if name.endswith(first)]
    if len(prefixes) != 1:
        found = "several" if prefixes else "no"
        checker.report("W222", f"{checker.location} has {found} {first}", *prefixes)
        raise ComposerError(checker.problems)
    own: dict[str, Tensor] = {}
    others, twice = [], []
    for name, tensor in stored.items():
        below = name.removeprefix(prefixes[0])
        if not below.startswith(layout.TOWER):
            others.append(below)
            continue
        short = below.removeprefix(layout.TOWER).replace(layout.CHECKPOINTED, "")
        if short in own:
            twice.append(short)
        own[short] = tensor
    if twice:
        what = f"tensors are there twice, with {layout.CHECKPOINTED} in their names too"
        checker.report("W271", what, *twice)
    checker.refuse_strays(others, layout.PARTS)
    return own


def _relate(checker: LayoutChecker, known: dict[str, Bound]) -> None:
    """Check the sizes that follow from each other, and bind how far biases reach."""
    for size, other in (("gated", "ffn"), ("twice", "width")):
        if {size, other} <= known.keys() and known[size].value != 2 * known[other].value:
            what = f"{layout.LABELS[size]} is not twice {layout.LABELS[other]}"
            checker.report("W272", what, *map(describe_bound, (known[size], known[other])))
    width, heads = known.get("width"), known.get("heads")
    if width and heads and width.value % heads.value:
        what = f"{heads.value} attention heads do not divide a width of {width.value}"
        checker.report("W274", what, describe_bound(heads), describe_bound(width))
    if {"channels", "joined", "mels"} <= known.keys():
        parts = [known[name] for name in ("joined", "channels", "mels")]
        joined, channels, mels = (part.value for part in parts)
        if joined != channels * -(-mels // 8):
            what = f"embed.out takes {joined} numbers, not an eighth of the mels by channel"
            checker.report("W272", what, *map(describe_bound, parts))
    if distances := known.get("distances"):
        known["reach"] = Bound(distances.value // 2, distances.witness)
        if distances.value % 2:
            what = f"{layout.LABELS['distances']} is odd: they go as far back as ahead"
            checker.report("W272", what, describe_bound(distances))

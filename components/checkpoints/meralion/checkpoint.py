"""What the headers of a MERaLiON speech encoder say, once they agree with each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from composer.core.component import Bound, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats.file_problems import show_bare

from ..dequantized import dequantized_headers
from ..encoder_checkpoint import EncoderCheckpoint
from ..encoder_config import refuse_unread
from ..encoder_packing import packed_modules
from ..folder import optional_config
from ..layout import (
    ExpectedSetting,
    LayoutChecker,
    count_layers,
    describe_bound,
    describe_count,
    first_lines,
)
from . import layout as layout
from .settings import FIXED, SIZES, config_files, expected_settings

if TYPE_CHECKING:
    from composer.formats import Headers
    from composer.formats.safetensors import Tensor

PARTS = ("encoder.safetensors", "adaptor.safetensors")


@dataclass(frozen=True, kw_only=True)
class SpeechCheckpoint(EncoderCheckpoint):
    """The speech encoder of a MERaLiON checkpoint, with its adaptor."""

    layers: int
    heads: int


def read_speech(spec: Spec, headers: Headers) -> SpeechCheckpoint:
    """Read the headers at the spec's weights; raise ComposerError with all that contradicts."""
    assert spec.weights is not None
    checker = LayoutChecker("mlx.meralion", spec.weights, layout.LABELS)
    folder, stored, parts = _stored(checker, headers)
    published = any(name.startswith(layout.ENCODER) for name in stored)
    if not published and "conv1.weight" not in stored:
        checker.report(
            "W222",
            f"{spec.weights} has neither {layout.ENCODER}* nor conv1.weight",
            hint="mlx.meralion takes a Whisper-shaped encoder with its frame adaptor",
        )
        raise ComposerError(checker.problems)
    configs = config_files(folder, headers)
    _without_others(checker, stored, published)
    plain, schemes = dequantized_headers(checker, optional_config(folder, headers), "", stored)
    layers = _match(checker, plain, published)
    _bind_factor(checker)
    dtype = checker.precision(spec.dtype)
    known = {**checker.dims, "layers": Bound(layers, f"{spec.weights}: its layers")}
    if spec.config.heads is not None:
        known["heads"] = Bound(spec.config.heads, "config.heads")
    every: list[ExpectedSetting] = []
    for file in configs:
        config = headers.config(file)
        every.extend(expected_settings(file, config))
        if isinstance(config.get("speech_config"), dict):
            read = (*SIZES, *FIXED)
            refuse_unread(checker, file, "speech_config", config["speech_config"], read)
    checker.configure(every, known)
    heads = _heads(checker, known.get("heads"))
    packed = packed_modules(checker, spec, stored, plain, schemes, layout.NOT_LINEAR)
    checker.refuse()
    return SpeechCheckpoint(
        tensors=checker.tensors,
        dims=checker.dims,
        dtype=dtype,
        torch_ordered=frozenset(checker.torch_ordered),
        configs=configs,
        notes=tuple(checker.problems),
        packed=packed,
        parts=parts,
        layers=layers,
        heads=heads,
    )


def _stored(
    checker: LayoutChecker, headers: Headers
) -> tuple[Location, dict[str, Tensor], tuple[Location, ...]]:
    """Return the folder and every tensor: of a file, of a model, or of the MLX port's files.

    Those files come last.
    """
    location = checker.location
    kind = headers.files.kind(location)
    names = headers.files.names(location) if kind == "folder" else ()
    if not {*PARTS} <= {*names}:
        folder = location
        if kind == "file":
            folder = replace(location, inside=location.inside.rpartition("/")[0])
        return folder, dict(headers.safetensors(location)), ()
    found: dict[str, Tensor] = {}
    for part in PARTS:
        own = headers.safetensors(location / part)
        if both := sorted(found.keys() & own.keys()):
            what = f"{describe_count(both)} in {PARTS[0]} and in {PARTS[1]} too"
            checker.report("W271", what, *first_lines(both))
        found.update(own)
    ignored = []
    for name in names:
        if name.endswith(".safetensors") and name not in PARTS:
            ignored.append(show_bare(name))
    if ignored:
        _warn_ignored(checker, ", ".join(ignored))
    return location, found, tuple(location / part for part in PARTS)


def _warn_ignored(checker: LayoutChecker, what: str) -> None:
    message = f"mlx.meralion reads the speech encoder alone; not read: {what}"
    checker.report("L311", message, severity="warning")


def _without_others(checker: LayoutChecker, stored: dict[str, Tensor], published: bool) -> None:
    """Remove the tensors of a whole model's decoder, and warn of them."""
    others = [name for name in stored if published and name.startswith(layout.OTHER)]
    if others:
        nbytes = sum(stored.pop(name).nbytes for name in others)
        _warn_ignored(
            checker, f"{describe_count(others)} of {layout.OTHER}*, {nbytes / 1e9:.3g} GB"
        )


def _match(checker: LayoutChecker, stored: dict[str, Tensor], published: bool) -> int:
    """Give each tensor its place and bind the sizes; return the number of layers."""
    layers = count_layers(stored, layout.LAYER_NUMBER)
    parts = {name.removeprefix(layout.JOINER).partition(".")[0] for name in stored}
    small = "speech_llm_proj" in parts and "gate_proj" not in parts
    wanted = dict(layout.tensor_shapes(layers, small=small))
    checker.match(stored, {layout.stored_name(name, published=published): name for name in wanted})
    checker.bind(wanted)
    return layers


def _bind_factor(checker: LayoutChecker) -> None:
    """Bind how many frames the adaptor joins."""
    dims = checker.dims
    joined, width, window = dims.get("joined"), dims.get("width"), dims.get("window")
    if not joined or not width or not window:
        return
    factor, rest = divmod(joined.value, width.value)
    if rest:
        what = f"the adaptor takes {joined.value} numbers, no whole frames of {width.value}"
        checker.report("W272", what, describe_bound(joined), describe_bound(width))
    elif window.value % factor:
        what = f"the adaptor joins {factor} frames, which does not divide {window.value}"
        checker.report(
            "W272", what, describe_bound(joined), describe_bound(width), describe_bound(window)
        )
    else:
        dims["factor"] = Bound(factor, joined.witness)


def _heads(checker: LayoutChecker, bound: Bound | None) -> int:
    """Return the attention heads, which no tensor shows."""
    width = checker.dims.get("width")
    if bound is None:
        hint = "say config: {heads: N}"
        if width and width.value % 64 == 0:
            hint += f"; Whisper's own heads are 64 wide, which makes {width.value // 64} here"
        checker.report("W274", "nothing says how many attention heads there are", hint=hint)
        return 0
    if width and width.value % bound.value:
        what = f"{bound.value} attention heads do not divide a width of {width.value}"
        checker.report("W274", what, describe_bound(bound), describe_bound(width))
    return bound.value

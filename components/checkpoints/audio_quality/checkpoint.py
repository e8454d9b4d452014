"""Check the tensors of Mega-ASR's router against each other and what its header claims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from composer.core.component import Bound, Spec
from composer.core.errors import ComposerError
from composer.formats.file_problems import show_bare
from composer.formats.strictjson import parse_object

from ..encoder_checkpoint import EncoderCheckpoint
from ..layout import LayoutChecker, count_layers, describe_bound
from . import layout

if TYPE_CHECKING:
    from composer.formats import Headers
    from composer.formats.safetensors import Tensor, TensorIndex

CLAIMS = {
    "n_mels": "mels",
    "d_model": "width",
    "dim_feedforward": "ffn",
    "num_layers": "layers",
}
KEY = "config"  # of the header's metadata


def read_classifier(spec: Spec, headers: Headers) -> EncoderCheckpoint:
    """Read the headers at the spec's weights; raise ComposerError with all that contradicts."""
    assert spec.weights is not None
    checker = LayoutChecker("audio_quality", spec.weights, layout.LABELS, "a quality classifier")
    checker.tables.add(layout.POSITIONS)
    stored = headers.safetensors(spec.weights)
    layers = count_layers(stored, layout.LAYER_NUMBER)
    wanted = dict(layout.tensor_shapes(layers))
    checker.match(_without_counters(checker, stored), {layout.stored_name(n): n for n in wanted})
    checker.bind(wanted)
    checker.precision(None)
    known = {**checker.dims, "layers": Bound(layers, f"{checker.location}: its layers")}
    claims = _claims(checker, stored)
    _compare(checker, claims, known)
    known |= _heads(checker, spec, claims, known)
    _relate(checker, known)
    checker.refuse()
    return EncoderCheckpoint(
        tensors=checker.tensors,
        dims=known,
        dtype="f32",
        torch_ordered=frozenset(checker.torch_ordered),
        configs=(),
        notes=tuple(checker.problems),
    )


def _without_counters(checker: LayoutChecker, stored: TensorIndex) -> dict[str, Tensor]:
    """Return the tensors without the counters of training steps that batch norms keep."""
    plain = dict(stored)
    for name in layout.COUNTERS:
        counter = plain.pop(name, None)
        if counter and counter.shape not in ((), (1,)):
            what = f"{name} has the shape {list(counter.shape)}; expected one number"
            checker.report("W272", what)
    return plain


def _claims(checker: LayoutChecker, stored: TensorIndex) -> Mapping[str, Any]:
    """Return what the header's metadata says of the model; nothing where it says nothing."""
    text = stored.metadata.get(KEY)
    if text is None:
        return {}
    try:
        found = parse_object(
            checker.location, text.encode(), what=f"its metadata '{KEY}'", depth=8, lines=False
        )
    except ComposerError as error:
        checker.problems += error.problems
        return {}
    model = found.get("model", found)
    return model if isinstance(model, dict) else {}


def _compare(checker: LayoutChecker, claims: Mapping[str, Any], known: Mapping[str, Bound]) -> None:
    """Warn of each claim that the tensors contradict; the tensors count."""
    for key, claimed, bound in _compared(claims, known):
        if claimed != bound.value:
            checker.report(
                "L349",
                f"its header says {key} {show_bare(claimed)}, and {bound.value} is stored, which "
                "counts",
                describe_bound(bound),
                severity="warning",
            )


def _compared(
    claims: Mapping[str, Any], known: Mapping[str, Bound]
) -> Iterator[tuple[str, Any, Bound]]:
    for key, size in CLAIMS.items():
        if key in claims and size in known:
            yield key, claims[key], known[size]


def _heads(
    checker: LayoutChecker, spec: Spec, claims: Mapping[str, Any], known: Mapping[str, Bound]
) -> dict[str, Bound]:
    """Return the number of attention heads, which no tensor shows."""
    found = None
    if "nhead" in claims:
        found = Bound(claims["nhead"], f"nhead in the header of {checker.location}")
    if spec.config.heads is not None:
        found = Bound(spec.config.heads, "config.heads")
    if found is None:
        hint = "say config: {heads: N}; the header of the release says nhead 4"
        checker.report("W274", "nothing says how many attention heads there are", hint=hint)
        return {}
    width = known.get("width")
    sound = type(found.value) is int and found.value > 0
    if not sound or (width and width.value % found.value):
        causes = [f"{show_bare(found.value)} comes from {found.witness}"]
        if width:
            causes.append(describe_bound(width))
        checker.report("W274", "the attention heads do not divide the width", *causes)
        return {}
    return {"heads": found}


def _relate(checker: LayoutChecker, known: Mapping[str, Bound]) -> None:
    """Check that queries, keys and values have the width of the hidden states."""
    joined, width = known.get("joined"), known.get("width")
    if joined and width and joined.value != 3 * width.value:
        what = f"in_proj gives {joined.value} numbers, not three times the width"
        checker.report("W272", what, describe_bound(joined), describe_bound(width))

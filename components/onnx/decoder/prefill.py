"""The second graph of a decoder that is published as two: it reads a prompt, without a cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from composer.core.errors import Place
from composer.core.problems import Problems
from composer.core.suggest import some

from ..graph_contract import shape_text
from .ports import LAYERS, CachePort, DecoderPorts, read_ports

if TYPE_CHECKING:
    from composer.formats import OnnxSignature, OnnxValue


def read_prefill(
    signature: OnnxSignature, step: DecoderPorts, names: Mapping[str, str]
) -> DecoderPorts:
    """Find out what its ports are for; raise ComposerError W283 unless `step` can go on from it."""
    ports = read_ports(signature, names, part="prefill")
    problems = Problems(place=Place(str(signature.file)))
    given = {each.key: each for each in ports.presents}
    for cache in step.caches:
        wanted = f"{step.file}: {_text(cache.past)}"
        found = given.pop(cache.key, None)
        if found is None:
            name = "present.{}.{}".format(*cache.key)
            problems.report("W283", f"it has no output {name}, which the step takes", wanted)
        elif not _alike(found.value, cache):
            problems.report(
                "W283",
                f"{_text(found.value)} is not what the step takes",
                wanted,
                hint="take both files from one export: rows are the third axis of keys and values",
            )
    if given:
        left = some([each.value.name for each in given.values()])
        problems.report("W283", f"nothing of {step.file} takes its output {left}")
    if (LAYERS in ports.inputs) != (LAYERS in step.inputs):
        problems.report("W283", f"one of it and {step.file} takes {LAYERS}, and the other does not")
    ours, theirs = (ports.logits.dims or ())[-1], (step.logits.dims or ())[-1]
    if isinstance(ours, int) and isinstance(theirs, int) and ours != theirs:
        message = f"its {ports.logits.name} are of {ours} ids, and those of the step of {theirs}"
        problems.report("W283", message, f"{step.file}: {_text(step.logits)}")
    problems.raise_any()
    return ports


def _alike(found: OnnxValue, cache: CachePort) -> bool:
    """Compare keys [B, heads, rows, head_dim] that go out and come in, as far as both are known."""
    dims, past = found.dims, cache.past
    if found.dtype != past.dtype or dims is None or len(dims) != len(past.dims or ()):
        return False
    if isinstance(dims[2], int):
        return False
    sizes = ((dims[1], cache.heads), (dims[3], cache.head_dim))
    return all(size == own for size, own in sizes if isinstance(size, int))


def _text(value: OnnxValue) -> str:
    return f"{value.name} {value.dtype} {shape_text(value.dims or ())}"

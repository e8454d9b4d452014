"""The sizes of a Gemma-4 decoder and its ports, of which not every size has all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from composer.core.call_signature import CallSignature
from composer.core.component import Bound, Spec
from composer.core.location import Location

from ..decoder_facts import without_ports
from ..lora.adapters import AdapterFacts, read_adapters
from ..lora.pair import layer_projections
from .checkpoint import Gemma4Checkpoint

if TYPE_CHECKING:
    from composer.formats import Headers

CAUSAL = "use_bidirectional_attention is not vision: a picture is read as words are"
NO_ROWS = "no embed_tokens_per_layer.weight, and no hidden_size_per_layer_input above 0"


def bind_sizes(decoder: Gemma4Checkpoint, weights: Location) -> dict[str, Bound]:
    """Bind D, V, and with per-layer inputs L layers and their width P."""
    checkpoint, settings = decoder.checkpoint, decoder.settings
    dims = {
        "D": Bound(checkpoint.table.width, checkpoint.table.witness),
        "V": Bound(checkpoint.table.rows, checkpoint.table.witness),
    }
    if settings.per_layer.value:
        norm, count = checkpoint.tensors["per_layer_projection_norm.weight"], len(settings.layers)
        dims["L"] = Bound(count, f"{weights}: the tensors of {count} layers")
        dims["P"] = Bound(settings.per_layer.value, f"{weights}: {norm.name} {list(norm.shape)}")
    return dims


def missing_reasons(decoder: Gemma4Checkpoint, weights: Location) -> dict[str, str]:
    """Explain why a decoder has no per-layer inputs, or no marks of pictures, if it has none."""
    reasons = {}
    if not decoder.settings.per_layer.value:
        reasons["per_layer"] = f"{weights}: {NO_ROWS}"
    if not decoder.settings.bidirectional:
        reasons["pictures"] = f"{weights}: {CAUSAL}"
    return reasons


def ports_without_per_layer(
    methods: Mapping[str, CallSignature], decoder: Gemma4Checkpoint
) -> dict[str, CallSignature]:
    """Return the ports of a decoder, without those that its size does not have."""
    missing = set()
    if not decoder.settings.per_layer.value:
        missing.add("per_layer")
    if not decoder.settings.bidirectional:
        missing.add("pictures")
    return without_ports(methods, missing)


def optional_per_layer(methods: Mapping[str, CallSignature]) -> dict[str, CallSignature]:
    """Return the ports of a decoder that may or may not have per-layer inputs."""
    found = {}
    for name, signature in methods.items():
        optional = {"per_layer"} & signature.inputs.keys()
        found[name] = replace(signature, optional=signature.optional | optional)
    return found


def adapters_of(spec: Spec, headers: Headers, decoder: Gemma4Checkpoint) -> dict[str, AdapterFacts]:
    """Return what the adapters of a component say, by their names."""
    return read_adapters(spec, headers, layer_projections(decoder.checkpoint), decoder.without_kv)

"""The sizes of a Gemma-4 decoder and its ports, which one without per-layer inputs has fewer of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from composer.core.component import Bound, Spec
from composer.core.location import Location
from composer.core.signature import Signature

from ..lora.adapters import AdapterFacts, read_adapters
from ..lora.pair import projections
from .checkpoint import Decoder

if TYPE_CHECKING:
    from composer.formats import Headers

NO_ROWS = "no embed_tokens_per_layer.weight, and no hidden_size_per_layer_input above 0"


def bind_sizes(decoder: Decoder, weights: Location) -> dict[str, Bound]:
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


def missing_reasons(decoder: Decoder, weights: Location) -> dict[str, str]:
    """Explain why a decoder has no per-layer inputs, if it has none."""
    if decoder.settings.per_layer.value:
        return {}
    return {"per_layer": f"{weights}: {NO_ROWS}"}


def ports(methods: Mapping[str, Signature], decoder: Decoder) -> dict[str, Signature] | None:
    """Return the ports of a decoder without per-layer inputs; None for one that has them."""
    if decoder.settings.per_layer.value:
        return None
    found = {}
    for name, signature in methods.items():
        if name != "per_layer":
            inputs = dict(signature.inputs)
            inputs.pop("per_layer", None)
            found[name] = replace(signature, inputs=inputs)
    return found


def optional_per_layer(methods: Mapping[str, Signature]) -> dict[str, Signature]:
    """Return the ports of a decoder that may or may not have per-layer inputs."""
    found = {}
    for name, signature in methods.items():
        optional = {"per_layer"} & signature.inputs.keys()
        found[name] = replace(signature, optional=signature.optional | optional)
    return found


def adapters_of(spec: Spec, headers: Headers, decoder: Decoder) -> dict[str, AdapterFacts]:
    """Return what the adapters of a component say, by their names."""
    return read_adapters(spec, headers, projections(decoder.checkpoint), decoder.without_kv)

"""What the headers of a Gemma-4 checkpoint say before it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from composer.core.backend import SHORT
from composer.core.component import Bound, Facts, Spec
from composer.core.location import Location
from composer.core.signature import Signature

from ...checkpoints.checkpoint import mixed
from ...checkpoints.file_stamps import StampedFacts, stamps
from ...checkpoints.gemma4.checkpoint import Decoder, read_decoder
from ...checkpoints.gemma4.quantization import quantized
from ...checkpoints.lora.adapters import AdapterFacts, read_adapters
from ...checkpoints.lora.pair import projections
from ...checkpoints.tokenizer import check_tokenizer, tokenizer_of
from .. import loader

if TYPE_CHECKING:
    from composer.formats import Headers

NO_ROWS = "no embed_tokens_per_layer.weight, and no hidden_size_per_layer_input above 0"


def decoder_facts(
    spec: Spec, weights: Location, headers: Headers, methods: Mapping[str, Signature]
) -> Facts:
    """Bind D, V, L layers and their width P, and check config and tensors against each other."""
    decoder = read_decoder(weights, headers)
    checkpoint, settings = decoder.checkpoint, decoder.settings
    tokenizer = tokenizer_of(spec, headers)
    end = check_tokenizer(tokenizer, headers, checkpoint)
    recipe, notes = quantized(spec, decoder)
    adapters = adapters_of(spec, headers, decoder).values()
    files = [file for adapter in adapters for file in adapter.files]
    dtype = SHORT[spec.precision] if isinstance(spec.precision, str) else None
    dims = {
        "D": Bound(checkpoint.table.width, checkpoint.table.witness),
        "V": Bound(checkpoint.table.rows, checkpoint.table.witness),
    }
    if settings.per_layer.value:
        norm = checkpoint.tensors["per_layer_projection_norm.weight"]
        witness = f"{weights}: {norm.name} {list(norm.shape)}"
        dims["L"] = Bound(
            len(settings.layers),
            f"{weights}: the tensors of {len(settings.layers)} layers",
        )
        dims["P"] = Bound(settings.per_layer.value, witness)
    if dtype is None:
        notes += mixed(decoder.loaded)
    return StampedFacts(
        dims=dims,
        dtype=dtype or checkpoint.table.dtype,
        nbytes=loader.nbytes(decoder.loaded, dtype, recipe)
        + sum(adapter.nbytes for adapter in adapters),
        mapped=sum(tensor.nbytes for tensor in decoder.table.values()),
        methods=ports(methods, bool(settings.per_layer.value)),
        missing_reasons={} if settings.per_layer.value else {"per_layer": f"{weights}: {NO_ROWS}"},
        notes=(
            *decoder.notes,
            *end,
            *notes,
            *(note for each in adapters for note in each.notes),
        ),
        stamps=stamps((*checkpoint.tensors.files, checkpoint.file, tokenizer, *files)),
    )


def adapters_of(spec: Spec, headers: Headers, decoder: Decoder) -> dict[str, AdapterFacts]:
    """Return what the adapters of a component say, by their names."""
    return read_adapters(spec, headers, projections(decoder.checkpoint), decoder.borrowed)


def ports(methods: Mapping[str, Signature], per_layer: bool) -> dict[str, Signature] | None:
    """Return the ports of a decoder without per-layer inputs; None for one that has them."""
    if per_layer:
        return None
    return {
        name: replace(each, inputs={k: v for k, v in each.inputs.items() if k != "per_layer"})
        for name, each in methods.items()
        if name != "per_layer"
    }


def optional_per_layer(methods: Mapping[str, Signature]) -> dict[str, Signature]:
    """Return the ports of a decoder that may or may not have per-layer inputs."""
    return {
        name: replace(each, optional=each.optional | ({"per_layer"} & each.inputs.keys()))
        for name, each in methods.items()
    }

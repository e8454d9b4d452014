"""What the headers of a Gemma-4 checkpoint say before it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from composer.core.call_signature import CallSignature
from composer.core.component import Facts, Spec
from composer.core.location import Location

from ...checkpoints.decoder_facts import decoder_facts
from ...checkpoints.gemma4.checkpoint import read_decoder
from ...checkpoints.gemma4.ports import bind_sizes, missing_reasons, ports_without_per_layer
from ...checkpoints.gemma4.quantization import decoder_packing, recipe_schemes
from ...checkpoints.lora.decoder_adapters import read_decoder_adapters
from ...checkpoints.tokenizer import check_tokenizer, tokenizer_location
from ...checkpoints.weight_groups import weight_groups
from .. import packer
from ..loaded_form import loaded_form, refuse_recipe

if TYPE_CHECKING:
    from composer.formats import Headers


def gemma4_facts(
    spec: Spec, weights: Location, headers: Headers, methods: Mapping[str, CallSignature]
) -> Facts:
    """Bind D, V, L layers and their width P, and check config and tensors against each other."""
    refuse_recipe(spec)
    decoder = read_decoder(weights, headers)
    checkpoint = decoder.checkpoint
    tokenizer = tokenizer_location(spec, headers)
    end = check_tokenizer(tokenizer, headers, checkpoint.vocabulary)
    recipe, notes = recipe_schemes(spec, decoder)
    adapters = read_decoder_adapters(spec, headers, checkpoint, decoder.without_kv)
    form = loaded_form(spec, decoder.loaded, recipe)
    notes += [*decoder.notes, *end, *form.notes]
    facts = decoder_facts(checkpoint, tokenizer, headers, adapters, form.nbytes, notes)
    return replace(
        facts,
        dims=bind_sizes(decoder, weights),
        dtype=form.dtype or checkpoint.table.dtype,
        weights=(
            *weight_groups(decoder.table_tensors, checkpoint.schemes, recipe),
            *weight_groups(decoder.loaded, checkpoint.schemes, form.packed, form.dtype),
        ),
        casts=form.casts,
        packing=recipe and decoder_packing(weights, headers, decoder, recipe, packer.pack_rows),
        mapped=sum(tensor.nbytes for tensor in decoder.table.values()),
        methods=ports_without_per_layer(methods, decoder),
        missing_reasons=missing_reasons(decoder, weights),
    )

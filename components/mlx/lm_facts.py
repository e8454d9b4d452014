"""What the headers of a checkpoint say to mlx.lm before it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import Field

from composer.core.call_signature import CallSignature
from composer.core.component import ComponentConfig, Facts, Spec
from composer.core.errors import ComposerError, Problem
from composer.formats import Headers
from composer.formats.quantization import Scheme

from ..checkpoints import packing
from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.config_keys.meaning import IGNORE
from ..checkpoints.decoder_facts import decoder_facts, without_head
from ..checkpoints.folder import HEAD, PREFIX
from ..checkpoints.lora.decoder_adapters import read_decoder_adapters
from ..checkpoints.packed_modules import packing_of
from ..checkpoints.tokenizer import check_tokenizer, tokenizer_location
from ..checkpoints.weight_groups import weight_groups
from ..models.decoder import find_tensor_problems
from ..models.rows_ahead import AUDIO_ATTENTION, AudioAttention, own_ports
from . import packer
from .checkpoint import read_checkpoint
from .loaded_form import loaded_form, refuse_recipe


class MlxLmConfig(ComponentConfig):
    """An author's settings for a checkpoint."""

    ignore: tuple[str, ...] = Field((), description=IGNORE)
    prefix: str = Field("", description=PREFIX)
    head: bool = Field(True, description=HEAD)
    audio_attention: AudioAttention = Field("bidirectional", description=AUDIO_ATTENTION)


def lm_facts(spec: Spec, headers: Headers, methods: Mapping[str, CallSignature]) -> Facts:
    """Bind D and V from the embeddings and check config, tensors and tokenizer."""
    assert spec.weights is not None
    ignore, prefix, head = checkpoint_options(spec)
    checkpoint = read_checkpoint(spec.weights, headers, ignore, prefix, head)
    tokenizer = tokenizer_location(spec, headers)
    end = check_tokenizer(tokenizer, headers, checkpoint.vocabulary)
    if faults := find_tensor_problems(checkpoint, checkpoint.config, ignore):
        raise ComposerError(faults)
    recipe, more = recipe_of(spec, checkpoint)
    form = loaded_form(spec, checkpoint.tensors, recipe)
    adapters = read_decoder_adapters(spec, headers, checkpoint)
    notes = [*checkpoint.notes, *end, *more, *form.notes]
    facts = decoder_facts(checkpoint, tokenizer, headers, adapters, form.nbytes, notes)
    own, missing = own_ports(methods, checkpoint.bidirectional, str(spec.weights))
    facts = replace(facts, methods=own, missing_reasons=missing)
    if not head:
        facts = without_head(facts, own)
    return replace(
        facts,
        dtype=form.dtype or checkpoint.table.dtype,
        weights=weight_groups(checkpoint.tensors, checkpoint.schemes, form.packed, form.dtype),
        casts=form.casts,
        continued_alone=checkpoint.continued_alone,
        packing=recipe
        and packing_of(
            spec.weights, headers, checkpoint, checkpoint.names, recipe, packer.pack_rows
        ),
    )


def lm_config(spec: Spec) -> MlxLmConfig:
    """Return an author's settings, or the defaults."""
    return spec.config if isinstance(spec.config, MlxLmConfig) else MlxLmConfig()


def checkpoint_options(spec: Spec) -> tuple[tuple[str, ...], str, bool]:
    """Return what is ignored of a config, the prefix of a part, and whether its head is read."""
    config = lm_config(spec)
    return config.ignore, config.prefix, config.head


def recipe_of(spec: Spec, checkpoint: Checkpoint) -> tuple[dict[str, Scheme] | None, list[Problem]]:
    """Return how modules are packed when they are loaded, if they are, with warnings."""
    if spec.recipe is None:
        return None, []
    refuse_recipe(spec)
    return packing.plan_quantization(spec.recipe, checkpoint.tensors, checkpoint.schemes)

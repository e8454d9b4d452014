"""Any language model of mlx-lm that continues embeddings."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from composer.core.backend import SHORT
from composer.core.component import Component, ComponentConfig, Facts, Spec, Token, method
from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed
from composer.formats import Headers
from composer.formats.quantization import Scheme
from composer.generation.decoder import DecoderInput
from composer.generation.generator import TextGenerator
from composer.generation.options import (
    GENERATED,
    AdapterNames,
    GenerationOptions,
    validate_generation,
)
from composer.generation.text import read_tokenizer
from composer.generation.tokenizer_process import RawTokenizer

from ..checkpoints import packing
from ..checkpoints.checkpoint import Checkpoint, mixed_dtypes
from ..checkpoints.config_keys.meaning import IGNORE
from ..checkpoints.decoder_facts import decoder_facts, without_head
from ..checkpoints.file_stamps import require_unchanged
from ..checkpoints.folder import HEAD, PREFIX
from ..checkpoints.lora.adapters import AdapterFacts
from ..checkpoints.lora.decoder_adapters import read_decoder_adapters
from ..checkpoints.packed_modules import packing_of
from ..checkpoints.tied_head import require_equal_head
from ..checkpoints.tokenizer import check_tokenizer, tokenizer_location
from ..checkpoints.weight_groups import weight_groups
from ..models.decoder import find_tensor_problems
from . import loader, packer
from .calibration import CalibratedDecoder
from .checkpoint import MlxCheckpoint, read_checkpoint
from .decoder import MlxLmDecoder
from .device import device_of
from .lora import MlxAdapters
from .mlx_lm_support import EMBEDS, mlx_lm_module_name

if TYPE_CHECKING:
    from composer.core.placement import Placement

TESTED = frozenset({"gemma3_text", "llama", "qwen2", "qwen3"})  # tested to take what `embed` gives


class MlxLmConfig(ComponentConfig):
    """An author's settings for a checkpoint."""

    ignore: tuple[str, ...] = Field((), description=IGNORE)
    prefix: str = Field("", description=PREFIX)
    head: bool = Field(True, description=HEAD)


class MlxLanguageModel(CalibratedDecoder, Component, name="mlx.lm"):
    """Continue embeddings with a language model of mlx-lm.

    The space `embed` is the output of the model's embedding table, and the input of its
    architecture in mlx-lm: if that multiplies embeddings by a factor, as Gemma's does, they are
    unscaled.
    """

    backend = "mlx"
    requires = frozenset({"weights"})
    placement_keys = frozenset({"device", "cache_gb"})
    accepts = frozenset({"files", "precision", "adapters"})
    Config = MlxLmConfig

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind D and V from the embeddings and check config, tensors and tokenizer."""
        if headers is None:
            return Facts(unknown=True)
        assert spec.weights is not None
        ignore, prefix, head = _checkpoint_options(spec)
        checkpoint = read_checkpoint(spec.weights, headers, ignore, prefix, head)
        tokenizer = tokenizer_location(spec, headers)
        end = check_tokenizer(tokenizer, headers, checkpoint.vocabulary)
        if faults := find_tensor_problems(checkpoint, checkpoint.config, ignore):
            raise ComposerError(faults)
        recipe, more = _recipe(spec, checkpoint)
        dtype = SHORT[spec.dtype] if spec.dtype else None
        adapters = read_decoder_adapters(spec, headers, checkpoint)
        notes = [*checkpoint.notes, *end, *more]
        if dtype is None:
            notes += mixed_dtypes(checkpoint.tensors)
        nbytes = loader.loaded_nbytes(checkpoint.tensors, dtype, recipe)
        facts = decoder_facts(checkpoint, tokenizer, headers, adapters, nbytes, notes)
        if not head:
            facts = without_head(facts, cls.methods)
        return replace(
            facts,
            dtype=dtype or checkpoint.table.dtype,
            weights=weight_groups(checkpoint.tensors, checkpoint.schemes, recipe, dtype),
            packing=recipe
            and packing_of(
                spec.weights, headers, checkpoint, checkpoint.names, recipe, packer.pack_rows
            ),
        )

    @classmethod
    def validate_options(cls, method: str, options: Mapping[str, Any]) -> None:
        validate_generation(method, options)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the model on this thread; every tensor is used, and none is missing."""
        import mlx.core as mx

        assert spec.weights is not None
        device = device_of(placement)
        headers = Headers()
        checkpoint = read_checkpoint(spec.weights, headers, *_checkpoint_options(spec))
        tokenizer = read_tokenizer(tokenizer_location(spec, headers))
        adapters = read_decoder_adapters(spec, headers, checkpoint)
        recipe, _ = _recipe(spec, checkpoint)
        require_unchanged(facts)
        require_equal_head(checkpoint)
        with mx.stream(device):
            model = loader.load_model(checkpoint, spec.dtype, recipe)
            room = placement.get("cache_gb")
            component = cls(model, checkpoint, tokenizer, device, adapters, facts.dtype, room)
            if mlx_lm_module_name(checkpoint.config) not in TESTED:
                component.check_embedding_convention()
        return component

    def __init__(
        self,
        model: Any,
        checkpoint: MlxCheckpoint,
        tokenizer: RawTokenizer,
        device: Any,
        adapters: Mapping[str, AdapterFacts],
        dtype: str,
        cache_gb: float | None = None,
    ) -> None:
        self.model = model
        self.table = loader.make_embedder(model, dtype)
        self.adapters = MlxAdapters(model, adapters, checkpoint)
        self.decoder = MlxLmDecoder(
            model, device, lambda ids: {EMBEDS: self.table(ids)}, self.adapters
        )
        self.tokenizer = tokenizer
        self.device = device
        self.rows = checkpoint.table.rows
        self.stop = checkpoint.stop
        limit = checkpoint.mlx_config.positions
        self.writer = TextGenerator(self.decoder, tokenizer, self.rows, self.stop, limit, cache_gb)

    @method(ids="i64 T", returns="T D @embed")
    def embed(self, ids: Any, *, adapters: tuple[str, ...] = ()) -> Any:
        """Look ids up; a quantized table is dequantized row by row.

        `adapters` are on for these rows: those that adapt the table change them.
        """
        import mlx.core as mx

        with mx.stream(self.device):
            self.writer.check_ids(ids)
            self.adapters.switch(adapters)
            return self.table(ids)

    @method(
        embeds="T D @embed",
        returns=GENERATED,
        streams=True,
    )
    def generate(
        self,
        embeds: Any,
        *,
        adapters: AdapterNames = (),
        options: GenerationOptions,
    ) -> Generator[Token, None, dict[str, Any]]:
        """Continue embeddings until an end-of-text id, one of `stop`, or `max_tokens`.

        `adapters` are on for this text only. The call itself raises errors of the
        options; decoding starts with the first token.
        """
        self.adapters.check(adapters)
        return self.writer.write(DecoderInput({EMBEDS: embeds}, adapters), options)

    @method(embeds="T D @embed", ids="i64 N", returns="f32 N V")
    def replay(self, embeds: Any, ids: Any, *, adapters: AdapterNames = ()) -> Any:
        """Return the logits before each of the ids that follow, decoded step by step."""
        self.adapters.check(adapters)
        return self.writer.replay(DecoderInput({EMBEDS: embeds}, adapters), ids)

    @method(embeds="T D @embed", returns="T D @hidden")
    def hidden(self, embeds: Any, *, adapters: AdapterNames = ()) -> Any:
        """Return every position after the last layer and its norm, as a head takes it."""
        import mlx.core as mx

        name = self.model.model_type
        if name not in TESTED:
            message = f"it is not known what mlx-lm's {name} gives before its head"
            raise ComposerError(
                Problem("R517", message, hint=f"known are {listed(sorted(TESTED))}")
            )
        with mx.stream(self.device):
            self.adapters.switch(adapters)
            return self.model.model(None, input_embeddings=embeds[None])[0]

    @method(embeds="T D @embed", returns="f32 T V")
    def logits(self, embeds: Any, *, adapters: AdapterNames = ()) -> Any:
        """Return the logits that follow every position, for tests and comparisons."""
        import mlx.core as mx

        with mx.stream(self.device):
            self.adapters.switch(adapters)
            return self.model(None, input_embeddings=embeds[None])[0].astype(mx.float32)

    def check_embedding_convention(self) -> None:
        """Refuse an architecture that does not accept its own embedding table's output."""
        import mlx.core as mx

        ids = mx.array([self.rows // 2, self.rows // 3])
        direct = self.model(ids[None])[0].astype(mx.float32)
        from_embeddings = self.logits(self.embed(ids))
        differ = mx.abs(direct - from_embeddings).max() > 1e-2 * mx.abs(direct).max()
        if differ.item():
            raise ComposerError(
                Problem(
                    "R517",
                    f"mlx-lm's {self.model.model_type} changes embeddings before it takes them: "
                    "ids and their embeddings give other logits",
                    hint="such an architecture needs a component that knows its convention",
                )
            )


def _checkpoint_options(spec: Spec) -> tuple[tuple[str, ...], str, bool]:
    config = spec.config
    if not isinstance(config, MlxLmConfig):
        return (), "", True
    return config.ignore, config.prefix, config.head


def _recipe(spec: Spec, checkpoint: Checkpoint) -> tuple[dict[str, Scheme] | None, list[Problem]]:
    if spec.recipe is None:
        return None, []
    return packing.plan_quantization(spec.recipe, checkpoint.tensors, checkpoint.schemes)

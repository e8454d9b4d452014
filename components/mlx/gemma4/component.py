"""Gemma-4's text decoder: embeddings in two conventions, per-layer inputs and generation."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, Self

from composer.core.component import Component, Facts, Spec, Token, method
from composer.formats import Headers
from composer.generation.decoder import AHEAD, DecoderInput
from composer.generation.generator import TextGenerator
from composer.generation.options import (
    GENERATED,
    AdapterNames,
    GenerationOptions,
    validate_generation,
)
from composer.generation.text import read_tokenizer
from composer.generation.tokenizer_process import RawTokenizer

from ...checkpoints.file_stamps import require_unchanged
from ...checkpoints.finite import damage_in
from ...checkpoints.gemma4.checkpoint import TABLE, Gemma4Checkpoint, read_decoder
from ...checkpoints.gemma4.ports import optional_per_layer
from ...checkpoints.gemma4.quantization import recipe_schemes
from ...checkpoints.lora.adapters import AdapterFacts
from ...checkpoints.lora.decoder_adapters import read_decoder_adapters
from ...checkpoints.tied_head import require_equal_head
from ...checkpoints.tokenizer import tokenizer_location
from ...models.gemma4_inputs import NOT_GIVEN, require_per_layer
from ...models.rows_ahead import rows_ahead
from .. import loader
from ..calibration import CalibratedDecoder
from ..device import device_of
from ..lora import MlxAdapters
from ..mlx_lm_support import EMBEDS
from .facts import gemma4_facts
from .model import INSIDE, check_expert_dtype, load_model
from .pictures import PictureDecoder
from .table import BlockTable, PerLayerEmbeddingTable, open_table

if TYPE_CHECKING:
    from composer.core.placement import Placement

ROWS = "per_layer_inputs"


class MlxGemma4(CalibratedDecoder, Component, name="mlx.gemma4"):
    """Continue embeddings with Gemma-4's text decoder, given its per-layer inputs.

    The space `embed` has embeddings as the residual stream takes them: rows of the table times
    the square root of D, as transformers gives them. `embed_unscaled` has the rows themselves,
    which mlx-lm's own models take. A decoder without per-layer inputs has no port for them.
    """

    backend = "mlx"
    requires = frozenset({"weights"})
    placement_keys = frozenset({"device", "tables", "cache_gb"})
    accepts = frozenset({"files", "precision", "adapters"})
    inside = INSIDE

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind D, V, L layers and their width P, checking config and tensors."""
        if headers is None or spec.weights is None:
            return Facts(unknown=True, methods=optional_per_layer(cls.methods))
        return gemma4_facts(spec, spec.weights, headers, cls.methods)

    @classmethod
    def validate_options(cls, method: str, options: Mapping[str, Any]) -> None:
        validate_generation(method, options)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the model on this thread; the per-layer table stays in its file by default."""
        import mlx.core as mx

        assert spec.weights is not None
        device = device_of(placement)
        headers = Headers()
        decoder = read_decoder(spec.weights, headers)
        tokenizer = read_tokenizer(tokenizer_location(spec, headers))
        recipe, _ = recipe_schemes(spec, decoder)
        check_expert_dtype(decoder, recipe, facts.dtype, device)
        adapters = read_decoder_adapters(spec, headers, decoder.checkpoint, decoder.without_kv)
        require_unchanged(facts)
        require_equal_head(decoder.checkpoint)
        with mx.stream(device):
            model = load_model(decoder, spec.dtype, recipe)
            is_loaded = placement.get("tables") == "loaded"
            table = open_table(decoder, (recipe or {}).get(TABLE), facts.dtype, is_loaded)
        room = placement.get("cache_gb")
        return cls(model, table, decoder, tokenizer, device, adapters, facts.dtype, room)

    def __init__(
        self,
        model: Any,
        table: PerLayerEmbeddingTable | BlockTable | None,
        decoder: Gemma4Checkpoint,
        tokenizer: RawTokenizer,
        device: Any,
        adapters: Mapping[str, AdapterFacts],
        dtype: str,
        cache_gb: float | None = None,
    ) -> None:
        self.model = model
        self.look_up = loader.make_embedder(model, dtype)
        self.table = table
        self.device = device
        self.tokenizer = tokenizer
        self.scale = decoder.settings.hidden.value**0.5
        self.adapters = MlxAdapters(model, adapters, decoder.checkpoint)
        self.bidirectional = decoder.settings.bidirectional
        self.decoder = PictureDecoder(model, device, self.rows, self.adapters)
        checkpoint, limit = decoder.checkpoint, decoder.settings.args["max_position_embeddings"]
        rows, stop, damage = checkpoint.table.rows, checkpoint.stop, damage_in(checkpoint.tensors)
        self.writer = TextGenerator(self.decoder, tokenizer, rows, stop, limit, cache_gb, damage)

    @method(ids="i64 T", returns="T D @embed")
    def embed(self, ids: Any, *, adapters: tuple[str, ...] = ()) -> Any:
        """Look ids up, scaled as the residual stream takes them.

        `adapters` are on for these rows: those that adapt the table change them.
        """
        return self.scaled(self.embed_unscaled(ids, adapters=adapters))

    @method(ids="i64 T", returns="T D @embed_unscaled")
    def embed_unscaled(self, ids: Any, *, adapters: tuple[str, ...] = ()) -> Any:
        """Look ids up; a quantized table is dequantized row by row."""
        import mlx.core as mx

        with mx.stream(self.device):
            self.writer.check_ids(ids)
            self.adapters.switch(adapters)
            return self.look_up(ids)

    @method(rows="N D @embed_unscaled", returns="N D @embed", converts=True)
    def scaled(self, rows: Any) -> Any:
        """Multiply rows by the square root of D, rounded to their dtype as the model's own is."""
        import mlx.core as mx

        with mx.stream(self.device):
            return rows * self.scale

    @method(ids="i64 T", zero="bool T", returns="T L P @per_layer")
    def per_layer(self, ids: Any, zero: Any = None) -> Any:
        """Look up each layer's own row of each id; those that `zero` marks are zeros instead."""
        import mlx.core as mx

        assert self.table is not None
        with mx.stream(self.device):
            self.writer.check_ids(ids)
            rows = self.table.rows(ids)
            if zero is not None:
                rows = mx.where(mx.array(zero)[:, None, None], 0, rows)
            return rows

    @method(
        embeds="T D @embed",
        per_layer="T L P @per_layer",
        pictures="bool T",
        returns=GENERATED,
        streams=True,
    )
    def generate(
        self,
        embeds: Any,
        per_layer: Any = NOT_GIVEN,
        pictures: Any = None,
        *,
        adapters: AdapterNames = (),
        options: GenerationOptions,
    ) -> Generator[Token, None, dict[str, Any]]:
        """Continue embeddings until an end-of-text id, one of `stop`, or `max_tokens`.

        Each generated token adds its own embedding and its own per-layer rows; `pictures` marks the
        rows of pictures. The call itself raises errors of the options, which are those of mlx.lm.
        """
        prompt = self.prompt(embeds, per_layer, pictures, adapters)
        return self.writer.write(prompt, options)

    @method(
        embeds="T D @embed",
        ids="i64 N",
        per_layer="T L P @per_layer",
        pictures="bool T",
        returns="f32 N V",
    )
    def replay(
        self,
        embeds: Any,
        ids: Any,
        per_layer: Any = NOT_GIVEN,
        pictures: Any = None,
        *,
        adapters: AdapterNames = (),
    ) -> Any:
        """Return the logits before each of the ids that follow, decoded step by step."""
        return self.writer.replay(self.prompt(embeds, per_layer, pictures, adapters), ids)

    @method(embeds="T D @embed", per_layer="T L P @per_layer", pictures="bool T", returns="f32 T V")
    def logits(
        self,
        embeds: Any,
        per_layer: Any = NOT_GIVEN,
        pictures: Any = None,
        *,
        adapters: AdapterNames = (),
    ) -> Any:
        """Return the logits that follow every position, for tests and comparisons."""
        import mlx.core as mx

        prompt = self.prompt(embeds, per_layer, pictures, adapters)
        with mx.stream(self.device):
            self.decoder.switch(prompt.adapters)
            return self.decoder.call(None, prompt.part(0, len(prompt)))[0].astype(mx.float32)

    def rows(self, ids: Any) -> dict[str, Any]:
        """Return the model's inputs for generated ids."""
        rows = {EMBEDS: self.scaled(self.look_up(ids))}
        if self.table is not None:
            rows[ROWS] = self.per_layer(ids)
        if self.bidirectional:
            rows[AHEAD] = self.decoder.from_numpy(rows_ahead(len(ids)))
        return rows

    def prompt_of(self, **inputs: Any) -> DecoderInput:
        return self.prompt(**{"per_layer": NOT_GIVEN, "pictures": None, "adapters": (), **inputs})

    def prompt(
        self, embeds: Any, per_layer: Any, pictures: Any, adapters: tuple[str, ...]
    ) -> DecoderInput:
        """Return a prompt; raise ComposerError unless its inputs are exactly the decoder's."""
        require_per_layer(per_layer, self.table is not None)
        self.adapters.check(adapters)
        rows = {EMBEDS: embeds}
        if self.table is not None:
            rows[ROWS] = per_layer
        if self.bidirectional:
            rows[AHEAD] = self.decoder.from_numpy(rows_ahead(len(embeds), pictures))
        return DecoderInput(rows, adapters)

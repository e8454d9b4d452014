"""Gemma-4's text decoder on ONNX Runtime, from the checkpoints that mlx.gemma4 takes."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from composer.core.component import Component, Facts, Spec, Token, method
from composer.core.errors import Problem
from composer.core.problems import Problems
from composer.formats import Headers, affine_packing
from composer.generation.decoder import AHEAD, DecoderInput
from composer.generation.generator import TextGenerator
from composer.generation.options import (
    GENERATED,
    AdapterNames,
    GenerationOptions,
    validate_generation,
)
from composer.generation.text import Tokenizer, read_tokenizer

from ..checkpoints import packing
from ..checkpoints.decoder_facts import decoder_facts
from ..checkpoints.file_stamps import require_unchanged
from ..checkpoints.finite import damage_in
from ..checkpoints.gemma4.checkpoint import Gemma4Checkpoint, read_decoder
from ..checkpoints.gemma4.ports import (
    adapters_of,
    bind_sizes,
    missing_reasons,
    optional_per_layer,
    ports_without_per_layer,
)
from ..checkpoints.gemma4.quantization import decoder_packing, recipe_schemes
from ..checkpoints.lora.adapters import AdapterFacts
from ..checkpoints.row_reader import EmbeddingRows
from ..checkpoints.tied_head import require_equal_head
from ..checkpoints.tokenizer import check_tokenizer, tokenizer_location
from ..checkpoints.weight_groups import weight_groups
from ..models.gemma4 import Gemma4Decoder, read_gemma4
from ..models.gemma4_inputs import NOT_GIVEN, require_per_layer
from ..models.rows_ahead import rows_ahead
from .lm.decoder import EMBEDS, OnnxDecoder
from .lm.precision import ActivationPrecision, unsupported_precision
from .lora import OnnxAdapters

if TYPE_CHECKING:
    from composer.core.placement import Placement

ROWS = "per_layer"


class OnnxGemma4(Component, name="onnx.gemma4"):
    """Continue embeddings with Gemma-4's text decoder on ONNX Runtime, given its per-layer inputs.

    It takes the folders of mlx.gemma4, plain or quantized by MLX to 4 or 8 bits, except those with
    experts, has the same ports and spaces, and computes in float32. The per-layer table stays in
    its file.
    """

    backend = "numpy"
    requires = frozenset({"weights"})
    placement_keys = frozenset({"providers", "threads", "cache_gb", "prepared_gb"})
    accepts = frozenset({"files", "precision", "adapters"})
    Config = ActivationPrecision

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind D, V, L layers and their width P, checking config and tensors."""
        if headers is None or spec.weights is None:
            return Facts(unknown=True, methods=optional_per_layer(cls.methods))
        decoder, found, more = _read(spec, headers)
        checkpoint = decoder.checkpoint
        tokenizer = tokenizer_location(spec, headers)
        end = check_tokenizer(tokenizer, headers, checkpoint.vocabulary)
        adapters = adapters_of(spec, headers, decoder)
        notes = (*decoder.notes, *end, *more)
        pack_rows = affine_packing.pack
        facts = decoder_facts(checkpoint, tokenizer, headers, adapters, found.nbytes, notes)
        return replace(
            facts,
            dims=bind_sizes(decoder, spec.weights),
            weights=weight_groups(checkpoint.tensors, checkpoint.schemes, found.recipe),
            packing=found.recipe
            and decoder_packing(spec.weights, headers, decoder, found.recipe, pack_rows),
            mapped=found.mapped,
            casts=found.casts,
            methods=ports_without_per_layer(cls.methods, decoder),
            missing_reasons=missing_reasons(decoder, spec.weights),
        )

    @classmethod
    def validate_options(cls, method: str, options: Mapping[str, Any]) -> None:
        validate_generation(method, options)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Write the graph and its weights down, load them, and remove them."""
        headers = Headers()
        decoder, found, _ = _read(spec, headers)
        tokenizer = read_tokenizer(tokenizer_location(spec, headers))
        adapters = adapters_of(spec, headers, decoder)
        require_unchanged(facts)
        require_equal_head(found.checkpoint)
        return cls(found, tokenizer, placement, adapters)

    def __init__(
        self,
        found: Gemma4Decoder,
        tokenizer: Tokenizer,
        placement: Placement,
        adapters: Mapping[str, AdapterFacts],
    ) -> None:
        self.words = EmbeddingRows(found.table)
        self.table = EmbeddingRows(found.rows) if found.rows else None
        self.shape = found.inputs.get(ROWS, ())
        self.bidirectional = found.settings.bidirectional
        self.scale = np.float32(found.settings.hidden_size**0.5)
        self.adapters = OnnxAdapters(found, adapters)
        self.decoder = OnnxDecoder(found, self.rows, placement, self.adapters)
        rows, stop = found.checkpoint.table.rows, found.checkpoint.stop
        limit, room = found.positions, placement.get("cache_gb")
        self.writer = TextGenerator(
            self.decoder, tokenizer, rows, stop, limit, room, damage_in(found.checkpoint.tensors)
        )

    @method(ids="i64 T", returns="T D @embed")
    def embed(self, ids: np.ndarray) -> np.ndarray:
        """Look ids up, scaled as the residual stream takes them."""
        return self.scaled(self.embed_unscaled(ids))

    @method(ids="i64 T", returns="T D @embed_unscaled")
    def embed_unscaled(self, ids: np.ndarray) -> np.ndarray:
        """Look ids up; a quantized table is dequantized row by row."""
        self.writer.check_ids(ids)
        return self.words.look_up(ids)

    @method(rows="N D @embed_unscaled", returns="N D @embed", converts=True)
    def scaled(self, rows: np.ndarray) -> np.ndarray:
        """Multiply rows by the square root of D."""
        return rows * self.scale

    @method(ids="i64 T", zero="bool T", returns="T L P @per_layer")
    def per_layer(self, ids: np.ndarray, zero: Any = None) -> np.ndarray:
        """Look up each layer's own row of each id; those that `zero` marks are zeros instead."""
        assert self.table is not None
        self.writer.check_ids(ids)
        rows = self.table.look_up(ids).reshape(len(ids), *self.shape)
        rows *= np.float32(self.shape[1] ** 0.5)
        if zero is not None:
            rows[zero] = 0
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
        embeds: np.ndarray,
        per_layer: Any = NOT_GIVEN,
        pictures: Any = None,
        *,
        adapters: AdapterNames = (),
        options: GenerationOptions,
    ) -> Generator[Token, None, dict[str, Any]]:
        """Continue embeddings until an end-of-text id, one of `stop`, or `max_tokens`.

        Each generated token adds its own embedding and its own per-layer rows; `pictures` marks the
        rows of pictures, and `adapters` are on for this text only. The call itself raises errors of
        the options; decoding starts with the first token.
        """
        return self.writer.write(self.prompt(embeds, per_layer, pictures, adapters), options)

    @method(
        embeds="T D @embed",
        ids="i64 N",
        per_layer="T L P @per_layer",
        pictures="bool T",
        returns="f32 N V",
    )
    def replay(
        self,
        embeds: np.ndarray,
        ids: np.ndarray,
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
        embeds: np.ndarray,
        per_layer: Any = NOT_GIVEN,
        pictures: Any = None,
        *,
        adapters: AdapterNames = (),
    ) -> np.ndarray:
        """Return the logits that follow every position, for tests and comparisons."""
        prompt = self.prompt(embeds, per_layer, pictures, adapters)
        return self.decoder.read(prompt.rows, self.decoder.begin(adapters), every=True)

    def rows(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Return the network's inputs for generated ids."""
        rows = {EMBEDS: self.embed(ids)}
        if self.table is not None:
            rows[ROWS] = self.per_layer(ids)
        if self.bidirectional:
            rows[AHEAD] = np.zeros(len(ids), np.int32)
        return rows

    def prompt(
        self, embeds: np.ndarray, per_layer: Any, pictures: Any, adapters: tuple[str, ...]
    ) -> DecoderInput:
        """Return a prompt; raise ComposerError unless its inputs are exactly the decoder's."""
        require_per_layer(per_layer, self.table is not None)
        self.adapters.check(adapters)
        rows = {EMBEDS: embeds}
        if self.table is not None:
            rows[ROWS] = per_layer
        if self.bidirectional:
            rows[AHEAD] = rows_ahead(len(embeds), pictures)
        return DecoderInput(rows, adapters)


def _read(spec: Spec, headers: Headers) -> tuple[Gemma4Checkpoint, Gemma4Decoder, list[Problem]]:
    """Read a component's headers, and warn; raise ComposerError for all that contradicts."""
    assert spec.weights is not None
    problems = Problems(unsupported_precision(spec, "onnx.gemma4", "mlx.gemma4"))
    with problems.collect():
        decoder = read_decoder(spec.weights, headers)
        recipe, notes = recipe_schemes(spec, decoder)
        packing.require_affine(spec.recipe, "onnx.gemma4 packs in the affine form")
        found = read_gemma4(decoder, spec.config.int8, recipe)
    problems.raise_any()
    return decoder, found, notes

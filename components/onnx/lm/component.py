"""A language model's checkpoint, as mlx.lm takes it, on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field

from composer.core.component import Component, Facts, Spec, Token, method
from composer.formats import Headers
from composer.formats.affine_packing import pack
from composer.generation.decoder import AHEAD, DecoderInput
from composer.generation.generator import TextGenerator
from composer.generation.options import (
    GENERATED,
    AdapterNames,
    GenerationOptions,
    validate_generation,
)
from composer.generation.text import Tokenizer, read_tokenizer

from ...checkpoints.config_keys.meaning import IGNORE
from ...checkpoints.decoder_facts import decoder_facts, without_head
from ...checkpoints.file_stamps import require_unchanged
from ...checkpoints.finite import damage_in
from ...checkpoints.folder import HEAD, PREFIX
from ...checkpoints.lora.adapters import AdapterFacts, read_adapters
from ...checkpoints.lora.pair import layer_projections
from ...checkpoints.packed_modules import packing_of
from ...checkpoints.row_reader import EmbeddingRows
from ...checkpoints.tied_head import require_equal_head
from ...checkpoints.tokenizer import check_tokenizer, tokenizer_location
from ...checkpoints.weight_groups import weight_groups
from ...models.decoder import ParsedDecoder, read_decoder
from ...models.rows_ahead import AUDIO_ATTENTION, AudioAttention, own_ports, rows_ahead
from ..lora import OnnxAdapters
from .decoder import EMBEDS, OnnxDecoder
from .precision import ActivationPrecision, unsupported_precision

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers


class OnnxLmConfig(ActivationPrecision):
    """How products are computed, and what of the checkpoint is read."""

    ignore: tuple[str, ...] = Field((), description=IGNORE)
    prefix: str = Field("", description=PREFIX)
    head: bool = Field(True, description=HEAD)
    audio_attention: AudioAttention = Field("bidirectional", description=AUDIO_ATTENTION)


class OnnxLanguageModel(Component, name="onnx.lm"):
    """Continue embeddings with a decoder of composer's own, such as Qwen3, on ONNX Runtime.

    Each architecture is a file of `components/models/`. It takes the folders of mlx.lm, plain or
    quantized by MLX to 4 or 8 bits, has the same ports, and computes in float32: on a CPU without
    a fast MLX it is many times as fast. The space `embed` is what the embedding table returns. A
    Gemma 3 inside a larger checkpoint has `embed_scaled` too, as its residual stream takes rows.
    """

    backend = "numpy"
    requires = frozenset({"weights"})
    placement_keys = frozenset({"providers", "threads", "cache_gb", "prepared_gb"})
    accepts = frozenset({"files", "precision", "adapters"})
    Config = OnnxLmConfig

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind D and V from the embeddings and check config, tensors and tokenizer."""
        if headers is None or spec.weights is None:
            return Facts(unknown=True)
        found = _read(spec, headers)
        checkpoint = found.checkpoint
        tokenizer = tokenizer_location(spec, headers)
        end = check_tokenizer(tokenizer, headers, checkpoint.vocabulary)
        adapters = read_adapters(spec, headers, layer_projections(checkpoint))
        notes = (*checkpoint.notes, *end)
        facts = decoder_facts(checkpoint, tokenizer, headers, adapters, found.nbytes, notes)
        methods, missing = own_ports(cls.methods, AHEAD in found.inputs, str(spec.weights))
        facts = replace(
            facts,
            methods=methods,
            missing_reasons=missing,
            weights=weight_groups(checkpoint.tensors, checkpoint.schemes, found.recipe),
            mapped=found.mapped,
            casts=found.casts,
            packing=found.recipe
            and packing_of(spec.weights, headers, checkpoint, found.names, found.recipe, pack),
        )
        return facts if found.headed else without_head(facts, methods)

    @classmethod
    def validate_options(cls, method: str, options: Mapping[str, Any]) -> None:
        validate_generation(method, options)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Write the graph and its weights down, load them, and remove them."""
        headers = Headers()
        found = _read(spec, headers)
        tokenizer = read_tokenizer(tokenizer_location(spec, headers))
        adapters = read_adapters(spec, headers, layer_projections(found.checkpoint))
        require_unchanged(facts)
        require_equal_head(found.checkpoint)
        return cls(found, tokenizer, placement, adapters, spec.config.audio_attention)

    def __init__(
        self,
        found: ParsedDecoder,
        tokenizer: Tokenizer,
        placement: Placement,
        adapters: Mapping[str, AdapterFacts],
        audio_attention: AudioAttention = "bidirectional",
    ) -> None:
        checkpoint = found.checkpoint
        self.table = EmbeddingRows(found.table)
        self.bidirectional = AHEAD in found.inputs
        self.audio_attention = audio_attention
        self.scale = np.float32(checkpoint.table.width**0.5)
        self.adapters = OnnxAdapters(found, adapters)
        self.decoder = OnnxDecoder(found, self.rows, placement, self.adapters)
        self.tokenizer = tokenizer
        self.stop = checkpoint.stop
        rows, limit = checkpoint.table.rows, found.positions
        room = placement.get("cache_gb")
        self.writer = TextGenerator(
            self.decoder, tokenizer, rows, self.stop, limit, room, damage_in(checkpoint.tensors)
        )

    def rows(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Return the network's inputs for generated ids."""
        rows = {EMBEDS: self.table.look_up(ids)}
        if self.bidirectional:
            rows[AHEAD] = rows_ahead(len(ids))
        return rows

    @method(ids="i64 T", returns="T D @embed")
    def embed(self, ids: np.ndarray) -> np.ndarray:
        """Look ids up; a quantized table is dequantized row by row."""
        self.writer.check_ids(ids)
        return self.table.look_up(ids)

    @method(rows="N D @embed_scaled", returns="N D @embed", converts=True)
    def unscaled(self, rows: np.ndarray) -> np.ndarray:
        """Divide rows by what the decoder multiplies by: the square root of D."""
        return rows / self.scale

    @method(
        embeds="T D @embed",
        pictures="bool T",
        audio="bool T",
        returns=GENERATED,
        streams=True,
    )
    def generate(
        self,
        embeds: np.ndarray,
        pictures: Any = None,
        audio: Any = None,
        *,
        adapters: AdapterNames = (),
        options: GenerationOptions,
    ) -> Generator[Token, None, dict[str, Any]]:
        """Continue embeddings until an end-of-text id, one of `stop`, or `max_tokens`.

        `pictures` and `audio` mark rows of such slots, which some decoders let see each other.
        `adapters` are on for this text only. The call itself raises what is wrong with the options;
        the work begins with the first token.
        """
        return self.writer.write(self.prompt(embeds, pictures, audio, adapters), options)

    @method(embeds="T D @embed", ids="i64 N", pictures="bool T", audio="bool T", returns="f32 N V")
    def replay(
        self,
        embeds: np.ndarray,
        ids: np.ndarray,
        pictures: Any = None,
        audio: Any = None,
        *,
        adapters: AdapterNames = (),
    ) -> Any:
        """Return the logits before each of the ids that follow, decoded step by step."""
        return self.writer.replay(self.prompt(embeds, pictures, audio, adapters), ids)

    @method(embeds="T D @embed", returns="T D @hidden")
    def hidden(self, embeds: np.ndarray, *, adapters: AdapterNames = ()) -> np.ndarray:
        """Return every position after the last layer and its norm, as a head takes it."""
        rows = self.prompt(embeds, None, None, adapters).rows
        return self.decoder.hidden(rows, self.decoder.begin(adapters))

    @method(embeds="T D @embed", pictures="bool T", audio="bool T", returns="f32 T V")
    def logits(
        self,
        embeds: np.ndarray,
        pictures: Any = None,
        audio: Any = None,
        *,
        adapters: AdapterNames = (),
    ) -> np.ndarray:
        """Return the logits that follow every position, for tests and comparisons."""
        rows = self.prompt(embeds, pictures, audio, adapters).rows
        return self.decoder.read(rows, self.decoder.begin(adapters), every=True)

    def prompt(
        self, embeds: np.ndarray, pictures: Any, audio: Any, adapters: tuple[str, ...]
    ) -> DecoderInput:
        """Return a prompt, with how far behind each row its block ends."""
        self.adapters.check(adapters)
        rows = {EMBEDS: embeds}
        if self.bidirectional:
            audible = audio if self.audio_attention == "bidirectional" else None
            rows[AHEAD] = rows_ahead(len(embeds), pictures, audible)
        return DecoderInput(rows, adapters)


def _read(spec: Spec, headers: Headers) -> ParsedDecoder:
    """Read a component's headers; raise ComposerError with everything that contradicts."""
    found = unsupported_precision(spec, "onnx.lm", "mlx.lm")
    return read_decoder(spec, headers, found, spec.config.int8)

"""Any language model of mlx-lm that continues embeddings."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, Self

from composer.core.component import Component, Facts, Spec, Token, method
from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed
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

from ..checkpoints.file_stamps import require_unchanged
from ..checkpoints.finite import damage_in
from ..checkpoints.lora.adapters import AdapterFacts
from ..checkpoints.lora.decoder_adapters import read_decoder_adapters
from ..checkpoints.tied_head import require_equal_head
from ..checkpoints.tokenizer import tokenizer_location
from ..models.rows_ahead import AudioAttention, rows_ahead
from . import loader
from .bidirectional import Gemma3Decoder
from .calibration import CalibratedDecoder
from .checkpoint import MlxCheckpoint, read_checkpoint
from .decoder import MlxLmDecoder
from .device import device_of
from .embedding_convention import check_embedding_convention
from .lm_facts import MlxLmConfig, checkpoint_options, lm_config, lm_facts, recipe_of
from .lora import MlxAdapters
from .mlx_lm_support import EMBEDS, mlx_lm_module_name

if TYPE_CHECKING:
    from composer.core.placement import Placement

# Tested to take what `embed` gives.
TESTED = frozenset({"gemma2", "gemma3_text", "llama", "qwen2", "qwen3"})


class MlxLanguageModel(CalibratedDecoder, Component, name="mlx.lm"):
    """Continue embeddings with a language model of mlx-lm.

    The space `embed` is the output of the model's embedding table, and the input of its
    architecture in mlx-lm: if that multiplies embeddings by a factor, as Gemma's does, they are
    unscaled. A Gemma 3 inside a larger checkpoint has `embed_scaled` too, as its residual stream
    takes rows.
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
        return lm_facts(spec, headers, cls.methods)

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
        checkpoint = read_checkpoint(spec.weights, headers, *checkpoint_options(spec))
        tokenizer = read_tokenizer(tokenizer_location(spec, headers))
        adapters = read_decoder_adapters(spec, headers, checkpoint)
        recipe, _ = recipe_of(spec, checkpoint)
        require_unchanged(facts)
        require_equal_head(checkpoint)
        with mx.stream(device):
            model = loader.load_model(checkpoint, spec.dtype, recipe)
            room = placement.get("cache_gb")
            attention = lm_config(spec).audio_attention
            component = cls(
                model, checkpoint, tokenizer, device, adapters, facts.dtype, room, attention
            )
            if mlx_lm_module_name(checkpoint.config) not in TESTED:
                check_embedding_convention(model, component.table, component.rows)
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
        audio_attention: AudioAttention = "bidirectional",
    ) -> None:
        self.model = model
        self.table = loader.make_embedder(model, dtype)
        self.adapters = MlxAdapters(model, adapters, checkpoint)
        self.bidirectional = checkpoint.bidirectional
        self.audio_attention = audio_attention
        kind = Gemma3Decoder if self.bidirectional else MlxLmDecoder
        self.decoder: MlxLmDecoder = kind(model, device, self.inputs, self.adapters)
        self.decoder.batches &= not checkpoint.continued_alone
        self.tokenizer = tokenizer
        self.device = device
        self.rows = checkpoint.table.rows
        self.stop = checkpoint.stop
        limit, damage = checkpoint.mlx_config.positions, damage_in(checkpoint.tensors)
        self.writer = TextGenerator(
            self.decoder, tokenizer, self.rows, self.stop, limit, cache_gb, damage
        )

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

    @method(rows="N D @embed_scaled", returns="N D @embed", converts=True)
    def unscaled(self, rows: Any) -> Any:
        """Divide rows by what mlx-lm multiplies by: the square root of D, rounded to bfloat16."""
        import mlx.core as mx

        with mx.stream(self.device):
            scale = mx.array(rows.shape[1] ** 0.5, mx.bfloat16)
            return rows / scale.astype(rows.dtype)

    @method(
        embeds="T D @embed",
        pictures="bool T",
        audio="bool T",
        returns=GENERATED,
        streams=True,
    )
    def generate(
        self,
        embeds: Any,
        pictures: Any = None,
        audio: Any = None,
        *,
        adapters: AdapterNames = (),
        options: GenerationOptions,
    ) -> Generator[Token, None, dict[str, Any]]:
        """Continue embeddings until an end-of-text id, one of `stop`, or `max_tokens`.

        `pictures` and `audio` mark rows of such slots, which some decoders let see each other.
        `adapters` are on for this text only. The call itself raises errors of the
        options; decoding starts with the first token.
        """
        return self.writer.write(self.prompt(embeds, pictures, audio, adapters), options)

    @method(embeds="T D @embed", ids="i64 N", pictures="bool T", audio="bool T", returns="f32 N V")
    def replay(
        self,
        embeds: Any,
        ids: Any,
        pictures: Any = None,
        audio: Any = None,
        *,
        adapters: AdapterNames = (),
    ) -> Any:
        """Return the logits before each of the ids that follow, decoded step by step."""
        return self.writer.replay(self.prompt(embeds, pictures, audio, adapters), ids)

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

    @method(embeds="T D @embed", pictures="bool T", audio="bool T", returns="f32 T V")
    def logits(
        self,
        embeds: Any,
        pictures: Any = None,
        audio: Any = None,
        *,
        adapters: AdapterNames = (),
    ) -> Any:
        """Return the logits that follow every position, for tests and comparisons."""
        import mlx.core as mx

        prompt = self.prompt(embeds, pictures, audio, adapters)
        with mx.stream(self.device):
            self.decoder.switch(prompt.adapters)
            return self.decoder.call(None, prompt.part(0, len(prompt)))[0].astype(mx.float32)

    def inputs(self, ids: Any) -> dict[str, Any]:
        """Return the model's inputs for generated ids."""
        rows = {EMBEDS: self.table(ids)}
        if self.bidirectional:
            rows[AHEAD] = self.decoder.from_numpy(rows_ahead(len(ids)))
        return rows

    def prompt_of(self, **inputs: Any) -> DecoderInput:
        return self.prompt(**({"pictures": None, "audio": None, "adapters": ()} | inputs))

    def prompt(
        self, embeds: Any, pictures: Any, audio: Any, adapters: tuple[str, ...]
    ) -> DecoderInput:
        """Return a prompt, with how far behind each row its block ends."""
        self.adapters.check(adapters)
        rows = {EMBEDS: embeds}
        if self.bidirectional:
            audible = audio if self.audio_attention == "bidirectional" else None
            rows[AHEAD] = self.decoder.from_numpy(rows_ahead(len(embeds), pictures, audible))
        return DecoderInput(rows, adapters)

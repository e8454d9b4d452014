"""Any language model of mlx-lm that continues embeddings."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, Self

from composer.backend import SHORT
from composer.component import Bound, Component, Facts, Spec, Token, method
from composer.decode.sampler import Sampling
from composer.decode.text import Tokenizer, read_tokenizer
from composer.errors import ComposerError, Place, Problem
from composer.headers import tokenizer_file
from composer.headers.quantization import Scheme
from composer.location import Location

from ..stamps import StampedFacts, hold, stamps
from . import loader, packing
from .architecture import EMBEDS, module_name_of
from .checkpoint import FLOATS, Checkpoint, read_checkpoint, setting
from .decoder import MlxDecoder, Prompt
from .device import device_of
from .writer import MaxTokens, Seed, Temperature, TopK, TopP, Writer

if TYPE_CHECKING:
    from composer.headers import Headers
    from composer.manifest.entries import Quantization as Recipe
    from composer.placement import Placement

SAME = frozenset({"gemma3_text", "llama", "qwen2", "qwen3"})  # tested to take what `embed` gives


class LanguageModel(Component, name="mlx.lm"):
    """Continue embeddings with a language model of mlx-lm.

    The space `embed` is what the model's embedding table returns, and what its architecture in
    mlx-lm takes: where that multiplies embeddings by a factor, as Gemma's does, they come in
    without it.
    """

    backend = "mlx"
    requires = frozenset({"weights"})
    places = frozenset({"device"})
    accepts = frozenset({"files", "precision"})

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind D and V from the embeddings and hold config, tensors and tokenizer together."""
        if headers is None:
            return Facts(unknown=True)
        assert spec.weights is not None
        checkpoint = read_checkpoint(spec.weights, headers)
        tokenizer = _tokenizer(spec, headers)
        _hold_ids(tokenizer, headers, checkpoint)
        recipe = _recipe(spec, checkpoint)
        dtype = SHORT[spec.precision] if _converts(spec) else checkpoint.table.dtype
        return StampedFacts(
            dims={
                "D": Bound(checkpoint.table.width, checkpoint.table.witness),
                "V": Bound(checkpoint.table.rows, checkpoint.table.witness),
            },
            dtype=dtype,
            nbytes=loader.nbytes(checkpoint.tensors, dtype if _converts(spec) else None, recipe),
            notes=(*checkpoint.notes, *_mixed(spec, checkpoint)),
            stamps=stamps((*checkpoint.tensors.files, checkpoint.file, tokenizer)),
        )

    @classmethod
    def weigh(cls, method: str, options: Mapping[str, Any]) -> None:
        if method == "generate":
            Sampling(*(options[name] for name in ("temperature", "top_p", "top_k", "seed")))

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the model on this thread; every tensor is used, and none is missing."""
        import mlx.core as mx

        from composer.headers import Headers

        assert spec.weights is not None
        device = device_of(placement)
        headers = Headers()
        checkpoint = read_checkpoint(spec.weights, headers)
        tokenizer = read_tokenizer(_tokenizer(spec, headers))
        hold(facts)
        with mx.stream(device):
            model = loader.load_model(
                checkpoint,
                spec.precision if _converts(spec) else None,
                _recipe(spec, checkpoint),
            )
            made = cls(model, checkpoint, tokenizer, device)
            if module_name_of(checkpoint.config) not in SAME:
                made.compare_paths()
        return made

    def __init__(
        self, model: Any, checkpoint: Checkpoint, tokenizer: Tokenizer, device: Any
    ) -> None:
        self.model = model
        self.table = loader.embeddings(model)
        self.decoder = MlxDecoder(model, device, lambda ids: {EMBEDS: self.table(ids)})
        self.tokenizer = tokenizer
        self.device = device
        self.rows = checkpoint.table.rows
        self.stop = checkpoint.stop
        limit = setting(checkpoint.config, "max_position_embeddings")
        self.writer = Writer(self.decoder, tokenizer, self.rows, self.stop, limit)

    @method(ids="i64 T", returns="T D @embed")
    def embed(self, ids: Any) -> Any:
        """Look ids up; a quantized table is dequantized row by row."""
        import mlx.core as mx

        with mx.stream(self.device):
            self.writer.known(ids)
            return self.table(ids)

    @method(
        embeds="T D @embed",
        returns={"text": "text", "ids": "i64 N", "finish_reason": "text"},
        streams=True,
    )
    def generate(
        self,
        embeds: Any,
        *,
        max_tokens: MaxTokens = 256,
        temperature: Temperature = 0.0,
        top_p: TopP = 1.0,
        top_k: TopK = 0,
        seed: Seed = 0,
        stop: tuple[int | str, ...] = (),
    ) -> Generator[Token, None, dict[str, Any]]:
        """Continue embeddings until an end-of-text id, one of `stop`, or `max_tokens`.

        `stop` adds ids, or tokens by their text, to those that the model's own config names. The
        call itself raises what is wrong with the options; the work begins with the first token.
        """
        sampling = Sampling(temperature, top_p, top_k, seed)
        return self.writer.write(Prompt({EMBEDS: embeds}), sampling, max_tokens, stop)

    @method(embeds="T D @embed", returns="f32 T V")
    def logits(self, embeds: Any) -> Any:
        """Return the logits that follow every position, for tests and comparisons."""
        import mlx.core as mx

        with mx.stream(self.device):
            return self.model(None, input_embeddings=embeds[None])[0].astype(mx.float32)

    def compare_paths(self) -> None:
        """Refuse an architecture that does not take what its own embedding table gives."""
        import mlx.core as mx

        ids = mx.array([self.rows // 2, self.rows // 3])
        direct = self.model(ids[None])[0].astype(mx.float32)
        given = self.logits(self.embed(ids))
        apart = mx.abs(direct - given).max() > 1e-2 * mx.abs(direct).max()
        if apart.item():
            raise ComposerError(
                Problem(
                    "R517",
                    f"mlx-lm's {self.model.model_type} changes embeddings before it takes them: "
                    "ids and their embeddings give other logits",
                    hint="such an architecture needs a component that knows its convention",
                )
            )


def _tokenizer(spec: Spec, headers: Headers) -> Location:
    place = spec.files or spec.weights
    assert place is not None
    return tokenizer_file(place, headers.files)


def _hold_ids(tokenizer: Location, headers: Headers, checkpoint: Checkpoint) -> None:
    """Refuse a decoder whose ids and embeddings do not belong together."""
    if not headers.exists(tokenizer):
        raise ComposerError(
            Problem(
                "W245",
                f"there is no {tokenizer}, so ids cannot become text",
                Place(str(tokenizer)),
                hint="point `files` at the folder that holds tokenizer.json, or at the file",
            )
        )
    most, table = headers.tokenizer(tokenizer).max_id, checkpoint.table
    if most >= table.rows:
        raise ComposerError(
            Problem(
                "W250",
                f"the tokenizer has ids up to {most}, but the embeddings have {table.rows} rows",
                Place(str(tokenizer)),
                (table.witness,),
                hint="give the tokenizer that the model was trained with",
            )
        )


def _converts(spec: Spec) -> bool:
    return isinstance(spec.precision, str)


def _recipe(spec: Spec, checkpoint: Checkpoint) -> dict[str, Scheme] | None:
    if spec.precision is None or _converts(spec):
        return None
    asked: Recipe = spec.precision
    return packing.plan(asked, checkpoint.tensors, checkpoint.schemes)


def _mixed(spec: Spec, checkpoint: Checkpoint) -> list[Problem]:
    """Say where stored dtypes differ, since the widest of them then decides."""
    held = {t.dtype: t.name for t in checkpoint.tensors.values() if t.dtype in FLOATS}
    if len(held) < 2 or _converts(spec):
        return []
    return [
        Problem(
            "L323",
            f"weights are stored in {' and '.join(sorted(held))}, so that it runs in the widest "
            "from where that one comes in",
            causes=tuple(f"{dtype}: {name}" for dtype, name in sorted(held.items())),
            hint="say a precision: float32, float16 or bfloat16",
            severity="warning",
        )
    ]

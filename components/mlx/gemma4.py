"""Gemma-4's ports and facts: embeddings, per-layer inputs and generation."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Self

from composer.backend import SHORT
from composer.component import Bound, Component, ComponentConfig, Facts, Spec, Token, method
from composer.errors import ComposerError, Problem

from .planned import not_yet

if TYPE_CHECKING:
    from composer.headers import Headers
    from composer.headers.safetensors import Tensor
    from composer.placement import Placement

TABLE = "embed_tokens.weight"
CONTEXT = "per_layer_model_projection.weight"
NORM = "per_layer_projection_norm.weight"


class Gemma4(Component, name="mlx.gemma4"):
    """Gemma-4 text decoder with per-layer inputs; checked only, not run in this release."""

    backend = "mlx"
    requires = frozenset({"weights"})
    places = frozenset({"device"})
    accepts = frozenset({"files", "precision", "adapters"})

    class Config(ComponentConfig):
        """No knobs yet."""

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind D, L layers and their width P from the tensors."""
        if headers is None or spec.weights is None:
            return Facts(unknown=True)
        tensors = headers.safetensors(spec.weights)
        found = {key: _ending(tensors.values(), key) for key in (TABLE, CONTEXT, NORM)}
        missing = [key for key, tensor in found.items() if tensor is None]
        if missing:
            raise ComposerError(
                Problem(
                    "W222",
                    f"{spec.weights} has no {', '.join(missing)}",
                    hint="mlx.gemma4 takes decoders with per-layer inputs; mlx.lm takes others",
                )
            )
        table, context, norm = (tensor for tensor in found.values() if tensor)
        width, rows = norm.shape[0], context.shape[0]
        # A quantized table is packed along its columns; the first norm has the true width.
        shape = _ending(tensors.values(), "layers.0.input_layernorm.weight")
        hidden = table.shape[1] if table.dtype != "u32" or shape is None else shape.shape[0]
        dims = {
            "D": Bound(hidden, f"{spec.weights}: {TABLE} {list(table.shape)}"),
            "L": Bound(rows // width, f"{spec.weights}: {CONTEXT} {list(context.shape)}"),
            "P": Bound(width, f"{spec.weights}: {NORM} {list(norm.shape)}"),
        }
        nbytes = sum(tensor.nbytes for tensor in tensors.values())
        return Facts(dims, SHORT.get(str(spec.precision), norm.dtype), nbytes)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        raise not_yet(cls.name, spec)

    @method(ids="i64 T", returns="T D @embed")
    def embed(self, ids: Any) -> Any:
        """Return the embeddings of ids, scaled as the model scales them."""
        raise NotImplementedError

    @method(ids="i64 T", returns="T L P @per_layer")
    def per_layer(self, ids: Any) -> Any:
        """Return each layer's own row of each id."""
        raise NotImplementedError

    @method(
        embeds="T D @embed",
        per_layer="T L P @per_layer",
        returns={"text": "text", "ids": "i64 N", "finish_reason": "text"},
        streams=True,
    )
    def generate(
        self,
        embeds: Any,
        per_layer: Any,
        *,
        adapters: tuple[str, ...] = (),
        max_tokens: int = 256,
    ) -> Generator[Token, None, dict[str, Any]]:
        """Continue the embeddings, greedily."""
        raise NotImplementedError


def _ending(tensors: Any, suffix: str) -> Tensor | None:
    return next((t for t in tensors if f".{t.name}".endswith(f".{suffix}")), None)

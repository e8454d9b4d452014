"""A stack of layers, such as the projector between two embedding spaces."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn, Self

from composer.core.component import Component, Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.core.ports import item_bytes
from composer.core.suggest import some
from composer.formats import Headers

from ..checkpoints.stack import StackConfig, read_shape
from ..checkpoints.stamps import StampedFacts, hold, stamps
from .device import device_of
from .dtypes import dtype as to_dtype
from .linear import affine
from .loader import read

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers
    from composer.formats.safetensors import Tensor


class Stack(Component, name="mlx.stack"):
    """Run rows through norms, linear layers and activations, sized by their tensors."""

    backend = "mlx"
    requires = frozenset({"weights"})
    placement_keys = frozenset({"device"})
    accepts = frozenset({"precision"})
    Config = StackConfig

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind the widths I and O; every tensor belongs to a layer and every width chains."""
        if headers is None:
            return Facts(unknown=True)
        shape = read_shape(spec, headers)
        numbers = sum(prod(tensor.shape) for tensor in shape.index.values())
        return StampedFacts(
            dims={"I": shape.width_in, "O": shape.width_out},
            dtype=shape.dtype,
            nbytes=numbers * item_bytes(shape.dtype),
            stamps=stamps(shape.index.files),
        )

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the tensors and convert them to the precision that is asked for."""
        import mlx.core as mx

        device = device_of(placement)
        shape = read_shape(spec, Headers())
        hold(facts)
        with mx.stream(device):
            weights = read(shape.index.files)
            layers, odd = [], []
            for kind, tensors in zip(spec.config.layers, shape.layers, strict=True):
                parts = {
                    part: weights.pop(tensor.name).astype(to_dtype(shape.dtype))
                    for part, tensor in tensors.items()
                }
                mx.eval(parts)
                odd += [tensors[part] for part, w in parts.items() if not mx.isfinite(w).all()]
                layers.append(_function(kind, parts, spec.config))
        if odd:
            _refuse_unfinite(odd, shape.dtype)
        return cls(layers, device)

    def __init__(self, layers: list[Callable[[Any], Any]], device: Any) -> None:
        self.layers = layers
        self.device = device

    @method(x="N I", returns="N O")
    def __call__(self, x: Any) -> Any:
        """Map rows [N, I] to rows [N, O]."""
        import mlx.core as mx

        with mx.stream(self.device):
            for layer in self.layers:
                x = layer(x)
            return x


def _refuse_unfinite(tensors: list[Tensor], dtype: str) -> NoReturn:
    names = some([tensor.name for tensor in tensors])
    message = f"{tensors[0].file}: {names} holds numbers that are NaN or infinite in {dtype}"
    hint = "its training diverged, the file is damaged, or the precision is too small for it"
    raise ComposerError(Problem("S479", message, hint=hint))


def _function(kind: str, parts: dict[str, Any], config: StackConfig) -> Callable[[Any], Any]:
    """Return one layer as a function of rows."""
    import mlx.core as mx
    import mlx.nn

    nn: Any = mlx.nn
    weight, bias = parts.get("weight"), parts.get("bias")
    match kind:
        case "layer_norm":
            return lambda x: mx.fast.layer_norm(x, weight, bias, config.layer_norm_eps)
        case "rms_norm":
            return lambda x: mx.fast.rms_norm(x, weight, config.rms_norm_eps)
        case "linear":
            assert weight is not None
            return lambda x: affine(x, weight, bias)
        case "gelu_tanh":
            approximate: Callable[[Any], Any] = nn.gelu_approx
            return approximate
        case _:
            activation: Callable[[Any], Any] = getattr(nn, kind)
            return activation

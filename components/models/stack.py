"""A stack of layers, such as the projector between two embedding spaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from composer.core.component import Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.core.family import Portable
from composer.core.suggest import some
from composer.formats import Headers

from ..checkpoints.file_stamps import require_unchanged
from ..checkpoints.stack import Shape, StackConfig, read_shape
from ..checkpoints.weights import WeightReader
from .blocks import Array, Blocks
from .encoder import encoder_facts
from .network import Network

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats.safetensors import Tensor


def project(
    layers: Sequence[tuple[str, str]], eps: Mapping[str, float], nn: Blocks, x: Array
) -> Array:
    """Map rows [N, I] to rows [N, O] through layers, each a kind and the name of its weights.

    `eps` has the epsilon of each kind of norm.
    """
    for kind, name in layers:
        match kind:
            case "linear":
                x = nn.linear(x, name)
            case "layer_norm":
                x = nn.layer_norm(x, name, eps[kind])
            case "rms_norm":
                x = nn.rms_norm(x, name, eps[kind])
            case activation:
                x = getattr(nn, activation)(x)
    return x


class Stack(Portable, name="stack"):
    """Run rows through norms, linear layers and activations, sized by their tensors."""

    requires = frozenset({"weights"})
    accepts = frozenset({"precision"})
    Config = StackConfig

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind the widths I and O; every tensor belongs to a layer and every width chains."""
        if headers is None:
            return Facts(unknown=True)
        shape = read_shape(spec, headers)
        dims = {"I": shape.width_in, "O": shape.width_out}
        return encoder_facts(network(spec, shape), cls.runs_on, dims, (), shape.index.files)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the tensors and convert them to the precision that is asked for."""
        shape = read_shape(spec, Headers())
        require_unchanged(facts)
        made = network(spec, shape)
        require_finite(made, cls.computed_in(shape.dtype))
        return cls(cls.runs_on.compile(made, placement))

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run = run

    @method(x="N I", returns="N O")
    def __call__(self, x: Any) -> Any:
        """Map rows [N, I] to rows [N, O]."""
        return self.run(x)


def network(spec: Spec, shape: Shape) -> Network:
    """Return the network of a stack; a layer's weights are named by its number."""
    config: StackConfig = spec.config
    tensors: dict[str, Tensor] = {}
    for number, parts in enumerate(shape.layers):
        tensors |= {f"{number}.{part}": tensor for part, tensor in parts.items()}
    layers = [(kind, str(number)) for number, kind in enumerate(config.layers)]
    eps = {"layer_norm": config.layer_norm_eps, "rms_norm": config.rms_norm_eps}
    return Network(
        name=str(spec.weights),
        forward=partial(project, layers, eps),
        inputs={"x": ("N", shape.width_in.value)},
        output=("N", shape.width_out.value),
        tensors=tensors,
        dtype=shape.dtype,
    )


def require_finite(made: Network, dtype: str) -> None:
    """Refuse weights that are NaN or infinite, or too large for the dtype."""
    reader = WeightReader(made.tensors, {})
    odd = []
    for name, tensor in made.tensors.items():
        value = reader.read(name)
        with np.errstate(over="ignore"):
            value = value.astype(np.float16) if dtype == "f16" else value
        if not np.isfinite(value).all():
            odd.append(tensor)
    if odd:
        _refuse(odd, dtype)


def _refuse(tensors: list[Tensor], dtype: str) -> NoReturn:
    names = some([tensor.name for tensor in tensors])
    message = f"{tensors[0].file}: {names} holds numbers that are NaN or infinite in {dtype}"
    hint = "its training diverged, the file is damaged, or the precision is too small for it"
    raise ComposerError(Problem("S479", message, hint=hint))

"""The ports and facts of MERaLiON's speech encoder and its frame adaptor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from composer.backend import SHORT
from composer.component import Bound, Component, ComponentConfig, Facts, Spec, method
from composer.errors import ComposerError, Problem

from .planned import not_yet

if TYPE_CHECKING:
    from composer.headers import Headers
    from composer.headers.safetensors import Tensor
    from composer.placement import Placement


class Meralion(Component, name="mlx.meralion"):
    """MERaLiON's Whisper encoder and 15-frame adaptor; checked only, not run in this release."""

    backend = "mlx"
    requires = frozenset({"weights"})
    places = frozenset({"device"})
    accepts = frozenset({"precision"})

    class Config(ComponentConfig):
        """No knobs yet."""

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind M mels and D from the first convolution and the adaptor's last layer."""
        if headers is None or spec.weights is None:
            return Facts(unknown=True)
        tensors = headers.safetensors(spec.weights)
        first, last = _named(tensors, "conv1.weight"), _named(tensors, "out_proj.weight")
        if first is None or last is None or len(first.shape) != 3:
            missing = "conv1.weight" if first is None else "the adaptor's out_proj.weight"
            raise ComposerError(
                Problem(
                    "W222",
                    f"{spec.weights} has no {missing}",
                    hint="mlx.meralion takes a Whisper-shaped encoder with its frame adaptor",
                )
            )
        # The kernel is 3 wide, and no model has 3 mels: the other axis counts mels.
        mels = first.shape[1] if first.shape[2] == 3 else first.shape[2]
        dims = {
            "M": Bound(mels, f"{spec.weights}: conv1.weight {list(first.shape)}"),
            "D": Bound(last.shape[0], f"{spec.weights}: out_proj.weight {list(last.shape)}"),
        }
        nbytes = sum(tensor.nbytes for tensor in tensors.values())
        return Facts(dims, SHORT.get(str(spec.precision), first.dtype), nbytes)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        raise not_yet(cls.name, spec)

    @method(mel="M F", returns="N D")
    def __call__(self, mel: Any) -> Any:
        """Return 100 rows for each 30 s of log-mel."""
        raise NotImplementedError


def _named(tensors: Any, suffix: str) -> Tensor | None:
    """Return the tensor of the encoder's stem or of the adaptor, not one inside a layer."""
    return next(
        (
            tensor
            for name, tensor in tensors.items()
            if f".{name}".endswith(f".{suffix}") and "layers." not in name
        ),
        None,
    )

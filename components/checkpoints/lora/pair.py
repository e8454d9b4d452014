"""A low-rank update of one module, and the linear layer that it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..checkpoint import Checkpoint
from ..embedding_table import describe

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor


class Projection(NamedTuple):
    """A linear layer of a decoder: its widths, and the tensor that shows them."""

    inputs: int
    outputs: int
    witness: str


@dataclass(frozen=True)
class Pair:
    """The two tensors that adapt one module; PEFT stores them flipped: A [r, in], B [out, r].

    DoRA adds a `magnitude` [out] too: the length of each row of the adapted weight.
    """

    path: str
    a: Tensor
    b: Tensor
    flipped: bool
    magnitude: Tensor | None = None

    @property
    def nbytes(self) -> int:
        magnitude = self.magnitude.nbytes if self.magnitude else 0
        return self.a.nbytes + self.b.nbytes + magnitude

    @property
    def inputs(self) -> int:
        return self.a.shape[1 if self.flipped else 0]

    @property
    def outputs(self) -> int:
        return self.b.shape[0 if self.flipped else 1]

    @property
    def ranks(self) -> tuple[int, int]:
        """The rank of A and that of B."""
        a, b = self.a.shape, self.b.shape
        return (a[0], b[1]) if self.flipped else (a[1], b[0])

    def torch_ordered(self, target: Projection) -> bool:
        """Return whether it fits a projection with the axes of A, of B or of both exchanged."""
        a, b = self.a.shape, self.b.shape
        if self.flipped:
            a, b = a[::-1], b[::-1]
        fits = {
            (turn_a, turn_b)
            for turn_a, (inputs, left) in ((False, a), (True, a[::-1]))
            for turn_b, (right, outputs) in ((False, b), (True, b[::-1]))
            if (inputs, outputs) == target[:2] and left == right
        }
        return bool(fits) and (False, False) not in fits


def projections(checkpoint: Checkpoint) -> dict[str, Projection]:
    """Return the linear layers inside a decoder's layers, such as layers.3.self_attn.q_proj."""
    prefix, found = checkpoint.table.prefix, {}
    for name, tensor in checkpoint.tensors.items():
        path = name.removeprefix(prefix).removesuffix(".weight")
        inside = name.startswith(f"{prefix}layers.") and name.endswith(".weight")
        if inside and len(tensor.shape) == 2:
            outputs, inputs = tensor.shape
            witness = f"{checkpoint.location}: {describe(tensor)}"
            if scheme := checkpoint.schemes.get(name.removesuffix(".weight")):
                inputs = scheme.unpacked(inputs)
                witness += f" of {scheme.bits} bits"
            found[path] = Projection(inputs, outputs, witness)
    return found

"""A low-rank update of one module, and the linear layer or the table that it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..checkpoint import Checkpoint
from ..embedding_table import describe_tensor
from ..head_copy import HEAD as HEAD_WEIGHT
from .thinker import source_name

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor


EMBEDDING, HEAD = "embed_tokens", "lm_head"
OUTSIDE = (EMBEDDING, HEAD)  # what is adapted outside the layers


class LinearShape(NamedTuple):
    """A linear layer of a decoder: its widths, and the tensor that shows them.

    The table of embeddings is one from ids, each a row of one 1, to their rows.
    """

    inputs: int
    outputs: int
    witness: str


@dataclass(frozen=True)
class LoraPair:
    """The two tensors that adapt one module; PEFT stores them flipped: A [r, in], B [out, r].

    DoRA adds a `magnitude` [out] too: the length of each row of the adapted weight. `table` says
    that they go by PEFT's names for a table of embeddings. `scale` is what the update is multiplied
    by; of one that was merged of several, `blocks` has that of each row of A. One that is
    `transposed` is that of a weight [in, out]: B [in, r] comes first, then A [r, out].
    """

    path: str
    a: Tensor
    b: Tensor
    flipped: bool
    magnitude: Tensor | None = None
    table: bool = False
    scale: float = 1.0
    blocks: tuple[float, ...] = ()
    transposed: bool = False

    @property
    def source(self) -> str:
        """The module's name in training."""
        return source_name(self.a.name)

    @property
    def nbytes(self) -> int:
        nbytes = self.a.nbytes + self.b.nbytes
        if self.magnitude:
            nbytes += self.magnitude.nbytes
        return nbytes

    @property
    def inputs(self) -> int:
        if self.transposed:
            return self.b.shape[0]
        axis = 1 if self.flipped else 0
        return self.a.shape[axis]

    @property
    def outputs(self) -> int:
        if self.transposed:
            return self.a.shape[1]
        axis = 0 if self.flipped else 1
        return self.b.shape[axis]

    @property
    def ranks(self) -> tuple[int, int]:
        """The rank of A and that of B."""
        a, b = self.a.shape, self.b.shape
        return (a[0], b[1]) if self.flipped else (a[1], b[0])

    def is_transposed(self, target: LinearShape) -> bool:
        """Return whether it fits a projection with the axes of A, of B or of both exchanged."""
        if self.transposed:
            return False  # as its config says
        a, b = self.a.shape, self.b.shape
        if self.flipped:
            a, b = a[::-1], b[::-1]
        fits = set()
        for turn_a, (inputs, left) in ((False, a), (True, a[::-1])):
            for turn_b, (right, outputs) in ((False, b), (True, b[::-1])):
                if (inputs, outputs) == target[:2] and left == right:
                    fits.add((turn_a, turn_b))
        return bool(fits) and (False, False) not in fits


def outside_projections(checkpoint: Checkpoint) -> dict[str, LinearShape]:
    """Return the table of embeddings and the head, which may be the table again."""
    table = checkpoint.table
    return {
        EMBEDDING: LinearShape(table.rows, table.width, table.witness),
        HEAD: LinearShape(table.width, table.rows, _head_witness(checkpoint)),
    }


def layer_projections(checkpoint: Checkpoint) -> dict[str, LinearShape]:
    """Return the linear layers inside a decoder's layers, such as layers.3.self_attn.q_proj."""
    table, found = checkpoint.table, dict[str, LinearShape]()
    for name, tensor in checkpoint.tensors.items():
        path = name.removeprefix(table.prefix).removesuffix(".weight")
        inside = name.startswith(f"{table.prefix}layers.") and name.endswith(".weight")
        if inside and len(tensor.shape) == 2:
            outputs, inputs = tensor.shape
            witness = f"{checkpoint.location}: {describe_tensor(tensor)}"
            if scheme := checkpoint.schemes.get(name.removesuffix(".weight")):
                inputs = scheme.unpacked(inputs)
                witness += f" of {scheme.bits} bits"
            found[path] = LinearShape(inputs, outputs, witness)
    return found


def _head_witness(checkpoint: Checkpoint) -> str:
    """Return the tensor of the head; where it is tied, that of the embeddings."""
    for name in (checkpoint.table.prefix + HEAD_WEIGHT, HEAD_WEIGHT):
        if name in checkpoint.tensors:
            return f"{checkpoint.location}: {describe_tensor(checkpoint.tensors[name])}"
    return checkpoint.table.witness

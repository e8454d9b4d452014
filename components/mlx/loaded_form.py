"""What a decoder's weights become when MLX loads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from composer.core.backend import SHORT
from composer.core.component import Spec
from composer.core.errors import ComposerError, Problem
from composer.core.ports import item_bytes
from composer.formats.quantization import Scheme

from ..checkpoints.checkpoint import mixed_dtypes
from ..checkpoints.embedding_table import FLOATS
from ..checkpoints.ggml_affine import affine_scheme, affine_schemes
from ..checkpoints.ggml_blocks import SIZES
from ..checkpoints.gguf.precision import COMPUTED, is_gguf, recipe_problem

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor


@dataclass(frozen=True)
class LoadedForm:
    """The form of tensors in memory.

    `dtype` is what floats become, None where they stay as they are stored. `packed` has the modules
    that are packed when they are read. `blocks` says whether the tensors are those of a GGUF file.
    """

    tensors: Mapping[str, Tensor]
    dtype: str | None
    packed: Mapping[str, Scheme] | None
    blocks: bool

    @property
    def nbytes(self) -> int:
        """Return what the tensors take."""
        total = 0
        for name, tensor in self.tensors.items():
            count = prod(tensor.shape)
            scheme = (self.packed or {}).get(name.removesuffix(".weight"))
            if scheme:
                total += scheme.nbytes(count, item_bytes(self.dtype or tensor.dtype))
            elif self.dtype and tensor.dtype in (*FLOATS, *SIZES):
                total += count * item_bytes(self.dtype)
            else:
                total += tensor.nbytes
        return total

    @property
    def notes(self) -> list[Problem]:
        """Warn where stored dtypes differ and nothing says which of them counts."""
        return mixed_dtypes(self.tensors) if self.dtype is None else []

    @property
    def casts(self) -> tuple[str, ...]:
        """Describe how many matrices of a GGUF file are widened, and what they take then."""
        forms: dict[str, list[Tensor]] = {}
        for tensor in self.tensors.values() if self.blocks else ():
            is_matrix = len(tensor.shape) > 1
            if is_matrix and tensor.dtype != self.dtype and affine_scheme(tensor) is None:
                forms.setdefault(tensor.dtype, []).append(tensor)
        return tuple(self._cast(form, forms[form]) for form in sorted(forms))

    def _cast(self, form: str, group: list[Tensor]) -> str:
        assert self.dtype
        exactly = ", exactly," if self.dtype == COMPUTED else ""
        stored = sum(tensor.nbytes for tensor in group) / 1e6
        loaded = sum(prod(tensor.shape) for tensor in group) * item_bytes(self.dtype) / 1e6
        return (
            f"{form} -> {self.dtype}{exactly} in {len(group)} modules: "
            f"{stored:.3g} MB stored, {loaded:.3g} MB loaded"
        )


def loaded_form(
    spec: Spec, tensors: Mapping[str, Tensor], recipe: Mapping[str, Scheme] | None
) -> LoadedForm:
    """Return what a component's weights become; blocks of a GGUF file are packed as they are."""
    dtype = SHORT[spec.dtype] if spec.dtype else None
    if not is_gguf(spec.weights):
        return LoadedForm(tensors, dtype, recipe, blocks=False)
    return LoadedForm(tensors, dtype or COMPUTED, affine_schemes(tensors), blocks=True)


def refuse_recipe(spec: Spec) -> None:
    """Raise ComposerError for a recipe, which would pack a GGUF file again."""
    if problem := recipe_problem(spec):
        raise ComposerError(problem)

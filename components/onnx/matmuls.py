"""Write the products of a decoder's graph: rows by modules as they are stored, or widened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..checkpoints.modules import Module
from ..checkpoints.rows import RowReader, pieces
from .blocks import OnnxBlocks, Symbol
from .proto import CONTRIB
from .weights import Weights


class Products(OnnxBlocks):
    """Blocks over modules that are packed, or are not.

    `int8_activations` are rounded to 8 bits, group by group, before they are multiplied.
    """

    def __init__(
        self, weights: Weights, modules: Mapping[str, Module], int8_activations: bool
    ) -> None:
        names = (f"{path}.{part}" for path, module in modules.items() for part in module.parts)
        super().__init__(weights, names, self._dense)
        self.modules = modules
        self.int8_activations = int8_activations
        self.reader = RowReader()
        self.sums: dict[tuple[str, int], Symbol] = {}

    def _dense(self, name: str) -> np.ndarray:
        """Return a whole weight as float32."""
        module = self.modules[name.rpartition(".")[0]]
        return self.reader.dense(module, 0, module.shape[0])

    def linear(self, x: Symbol, name: str) -> Symbol:
        (made,) = self.linears(x, [name])
        return made

    def linears(self, x: Symbol, names: Sequence[str]) -> list[Symbol]:
        """Multiply x by modules; those of one form are one product, split afterwards."""
        modules = [self.modules[name] for name in names]
        forms = {(module.scheme, "bias" in module.parts) for module in modules}
        if len(forms) > 1:
            return [self.linear(x, name) for name in names]
        whole = "+".join([names[0], *(name.rpartition(".")[2] for name in names[1:])])
        bias = self._biases(whole, modules) if "bias" in modules[0].parts else []
        if modules[0].stays_packed(self.int8_activations):
            made = self._packed_product(x, whole, modules)
            made = self.node("Add", made, *bias) if bias else made
        else:
            made = self._dense_product(x, whole, modules, bias)
        if len(modules) == 1:
            return [made]
        sizes = self.ints(*(module.shape[0] for module in modules))
        return self.nodes("Split", [made, sizes], len(modules), axis=-1)

    def _biases(self, name: str, modules: Sequence[Module]) -> list[Symbol]:
        tensors = [module.parts["bias"] for module in modules]
        size = sum(tensor.shape[0] for tensor in tensors)
        found = (self.reader.rows(tensor, 0, tensor.shape[0]) for tensor in tensors)
        return [self._added(f"{name}.bias", "float32", (size,), found)]

    def _dense_product(
        self, x: Symbol, name: str, modules: Sequence[Module], bias: list[Symbol]
    ) -> Symbol:
        """Multiply by rows that are float32, or are made so; a large matrix in several products.

        ONNX Runtime has a matrix twice while it packs it, so that none may be too large.
        """
        width = modules[0].shape[1]
        cuts = [(module, *piece) for module in modules for piece in pieces(module)]
        several = len(modules) == 1 and not bias
        groups = [cuts[at : at + 4] for at in range(0, len(cuts), 4)] if several else [cuts]
        made = []
        for place, group in enumerate(groups):
            rows = sum(end - start for _, start, end in group)
            found = (self.reader.dense(*cut) for cut in group)
            weight = self._added(f"{name}.weight{place}", "float32", (rows, width), found)
            made.append(self.node("Gemm", x, weight, *bias, transB=1))
        return made[0] if len(made) == 1 else self.node("Concat", *made, axis=-1)

    def _packed_product(self, x: Symbol, name: str, modules: Sequence[Module]) -> Symbol:
        """Multiply by packed rows: s (q - z), then the residual offset by sums of groups of x."""
        scheme, width = modules[0].scheme, modules[0].shape[1]
        assert scheme is not None
        rows, groups = sum(module.shape[0] for module in modules), width // scheme.group_size
        sizes = {
            "codes": ("uint8", (rows, groups, scheme.group_size * scheme.bits // 8)),
            "scales": ("float32", (rows * groups,)),
            "residual_offset": ("float32", (rows, groups)),
        }

        def read(part: str) -> Iterator[np.ndarray]:
            for module in modules:
                for piece in pieces(module):
                    yield self.reader.packed(module, part, *piece)

        codes, scales, offset = (
            self._added(f"{name}.{part}", *size, read(part)) for part, size in sizes.items()
        )
        product = self.node(
            "MatMulNBits", x, codes, scales, domain=CONTRIB, K=width, N=rows, bits=scheme.bits,
            block_size=scheme.group_size, accuracy_level=4 if self.int8_activations else 1,
        )  # fmt: skip
        return self.node("Gemm", self._sums(x, scheme.group_size), offset, product, transB=1)

    def _sums(self, x: Symbol, size: int) -> Symbol:
        """Sum each group of a row, once for all that multiply it."""
        if (x.name, size) not in self.sums:
            groups = self.node("Reshape", x, self.ints(0, -1, size))
            self.sums[x.name, size] = self.node("ReduceSum", groups, self.ints(2), keepdims=0)
        return self.sums[x.name, size]

    def _added(
        self, name: str, dtype: str, shape: Sequence[int], found: Iterator[np.ndarray]
    ) -> Symbol:
        return Symbol(self.weights.add(name, dtype, shape, found), self)

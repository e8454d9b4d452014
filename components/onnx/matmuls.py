"""Write the products of a decoder's graph: rows by modules as they are stored, or widened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum

import numpy as np

from composer.formats.quantization import Scheme

from ..checkpoints.ggml_blocks import SYMMETRIC
from ..checkpoints.modules import Module
from ..checkpoints.row_reader import RowReader, row_ranges
from .blocks import OnnxBlocks, Symbol
from .int8_planes import (
    FLOAT32,
    RowCount,
    write_even_rows,
    write_packed_matmul,
    write_planes,
    write_sum_over_planes,
    write_unpadded_products,
)
from .weights import WeightsLayout

UNPACKED = 4 << 20  # bytes of float32 that stay in a processor's cache


class MatmulMode(Enum):
    """What rows are multiplied by packed weights as.

    PLANES is exact and fastest for few rows, FLOAT32 for many: by a kernel for 4 bits, and 8 are
    unpacked a piece at a time. ROUNDED has 8 bits of each activation.
    """

    PLANES = "planes"
    FLOAT32 = "float32"
    ROUNDED = "rounded"


class PackedMatmulBlocks(OnnxBlocks):
    """Blocks over modules that are packed, or are not.

    `rows_input` is the input of the graph that has as many rows as are multiplied. They are counted
    where the kernel of a scheme sums them `in_pairs`; FLOAT32 rows are not.
    """

    rows_input = ""

    def __init__(
        self,
        weights: WeightsLayout,
        modules: Mapping[str, Module],
        rows: MatmulMode,
        in_pairs: Callable[[Scheme], bool],
    ) -> None:
        names = [f"{path}.{part}" for path, module in modules.items() for part in module.parts]
        super().__init__(weights, names, self._dense)
        self.modules = modules
        self.rows = rows
        self.in_pairs = in_pairs
        self.reader = RowReader()
        self._made_groups: dict[tuple[str, int], Symbol] = {}
        self._made_sums: dict[tuple[str, int], Symbol] = {}
        self._made_planes: dict[tuple[str, Scheme], Symbol] = {}
        self._row_counts: dict[str, RowCount] = {}

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
            products: list[Symbol] = []
            for name in names:
                products += PackedMatmulBlocks.linears(self, x, [name])
            return products
        first, *others = names
        whole = "+".join([first, *(name.rpartition(".")[2] for name in others)])
        bias = self._biases(whole, modules)
        if modules[0].scheme:
            made = self._packed_product(x, whole, modules)
            if bias:
                made = self.node("Add", made, *bias)
        else:
            made = self._dense_product(x, whole, modules, bias)
        if len(modules) == 1:
            return [made]
        sizes = self.ints(*(module.shape[0] for module in modules))
        return self.nodes("Split", [made, sizes], len(modules), axis=-1)

    def _biases(self, name: str, modules: Sequence[Module]) -> list[Symbol]:
        if "bias" not in modules[0].parts:
            return []
        tensors = [module.parts["bias"] for module in modules]
        size = sum(tensor.shape[0] for tensor in tensors)
        found = map(self.reader.whole, tensors)
        return [self._added(f"{name}.bias", "float32", (size,), found)]

    def _dense_product(
        self, x: Symbol, name: str, modules: Sequence[Module], bias: list[Symbol]
    ) -> Symbol:
        """Multiply by rows that are float32, or are made so; a large matrix in several products.

        ONNX Runtime has a matrix twice while it packs it, so that none may be too large.
        """
        width = modules[0].shape[1]
        cuts = []
        for module in modules:
            for piece in row_ranges(module):
                cuts.append((module, *piece))
        at_once = 4 if len(modules) == 1 and not bias else len(cuts)
        made = []
        for place, at in enumerate(range(0, len(cuts), at_once)):
            group = cuts[at : at + at_once]
            rows = sum(end - start for _, start, end in group)
            found = (self.reader.dense(*cut) for cut in group)
            weight = self._added(f"{name}.weight{place}", "float32", (rows, width), found)
            if self.weights.is_shared:  # what is no constant is not packed, and stays in its file
                weight = self.reshape(weight, rows, width)
            made.append(self.node("Gemm", x, weight, *bias, transB=1))
        return self._joined(made)

    def _joined(self, products: Sequence[Symbol]) -> Symbol:
        """Put the columns of several products beside each other."""
        if len(products) == 1:
            return products[0]
        return self.node("Concat", *products, axis=-1)

    def _packed_product(self, x: Symbol, name: str, modules: Sequence[Module]) -> Symbol:
        """Multiply by packed rows: s (q - z), then the residual offset by sums of groups of x."""
        scheme, width = modules[0].scheme, modules[0].shape[1]
        assert scheme is not None
        rows = sum(module.shape[0] for module in modules)
        stored = *self.packed_parts(name, modules), rows, width, scheme
        if self.rows is MatmulMode.PLANES:
            product = write_packed_matmul(self, self._planes(x, width, scheme), *stored)
            product = write_sum_over_planes(self, product, self.row_count(scheme), rows)
        elif self.rows is MatmulMode.ROUNDED:
            count = self.row_count(scheme)
            product = write_packed_matmul(self, write_even_rows(self, x, count, width), *stored)
            product = write_unpadded_products(self, product, count)
        elif scheme.bits == 4:
            product = write_packed_matmul(self, x, *stored, accuracy=FLOAT32)
        else:
            product = self._unpacked_product(x, *stored[:-1], scheme.group_size)
        offsets = self.residual_offsets(name, modules)
        if offsets is None:
            return product
        return self.node("Gemm", self.group_sums(x, scheme.group_size), offsets, product, transB=1)

    def packed_parts(self, name: str, modules: Sequence[Module]) -> tuple[Symbol, Symbol]:
        """Add the codes and the scales of modules of one scheme, one after another."""
        scheme, rows = modules[0].scheme, sum(module.shape[0] for module in modules)
        assert scheme is not None
        groups, size = modules[0].shape[1] // scheme.group_size, scheme.group_size
        shape = rows, groups, size * scheme.bits // 8
        codes = self._packed_part(name, modules, "codes", "uint8", shape)
        return codes, self._packed_part(name, modules, "scales", "float32", (rows * groups,))

    def residual_offsets(self, name: str, modules: Sequence[Module]) -> Symbol | None:
        """Add what the middle code stands for in each group of modules, where it is not 0."""
        scheme, rows = modules[0].scheme, sum(module.shape[0] for module in modules)
        assert scheme is not None
        if scheme.mode == SYMMETRIC:
            return None
        shape = rows, modules[0].shape[1] // scheme.group_size
        return self._packed_part(name, modules, "residual_offset", "float32", shape)

    def _packed_part(
        self, name: str, modules: Sequence[Module], part: str, dtype: str, shape: Sequence[int]
    ) -> Symbol:
        return self._added(f"{name}.{part}", dtype, shape, self._packed_rows(modules, part))

    def row_count(self, *schemes: Scheme) -> RowCount | None:
        """Return how many rows are multiplied, where one of the schemes has them in pairs."""
        if not any(map(self.in_pairs, schemes)):
            return None
        name = self.rows_input
        if name not in self._row_counts:
            self._row_counts[name] = RowCount(self, Symbol(name, self))
        return self._row_counts[name]

    def _packed_rows(self, modules: Sequence[Module], part: str) -> Iterator[np.ndarray]:
        for module in modules:
            for piece in row_ranges(module):
                yield self.reader.packed(module, part, *piece)

    def _unpacked_product(
        self, x: Symbol, codes: Symbol, scales: Symbol, rows: int, width: int, size: int
    ) -> Symbol:
        """Multiply by rows of 8 bits that are float32 for the moment, each group by its scale."""
        groups = width // size
        step = max(UNPACKED // (4 * width), 1)
        made = []
        for start in range(0, rows, step):
            count = min(step, rows - start) * groups
            at = start * groups
            parts = [
                self._view(codes, "uint8", (count, size), at * size),
                self._view(scales, "float32", (count,), at * 4),
                self._middles(count),
            ]
            weight = self.reshape(self.node("DequantizeLinear", *parts, axis=0), -1, width)
            made.append(self.node("Gemm", x, weight, transB=1))
        return self._joined(made)

    def _view(self, whole: Symbol, dtype: str, shape: Sequence[int], offset: int) -> Symbol:
        name = f"{whole.name}@{offset}"
        return Symbol(self.weights.view(name, dtype, shape, whole.name, offset), self)

    def _middles(self, count: int) -> Symbol:
        """Return the middle code of 8 bits, so many times."""
        stored = np.full(count, 0x80, np.uint8)
        return self._added(f"{count} middles", "uint8", (count,), iter([stored]))

    def _grouped(self, x: Symbol, size: int) -> Symbol:
        """Return rows in groups [M, 1, G, size], once for all that multiply them."""
        if (x.name, size) not in self._made_groups:
            self._made_groups[x.name, size] = self.reshape(x, 0, 1, -1, size)
        return self._made_groups[x.name, size]

    def group_sums(self, x: Symbol, size: int) -> Symbol:
        """Sum each group of a row."""
        if (x.name, size) not in self._made_sums:
            groups = self._grouped(x, size)
            axes = self.ints(1, 3)
            self._made_sums[x.name, size] = self.node("ReduceSum", groups, axes, keepdims=0)
        return self._made_sums[x.name, size]

    def _planes(self, x: Symbol, width: int, scheme: Scheme) -> Symbol:
        if (x.name, scheme) not in self._made_planes:
            groups = self._grouped(x, scheme.group_size)
            made = write_planes(self, groups, self.row_count(scheme), scheme, width)
            self._made_planes[x.name, scheme] = made
        return self._made_planes[x.name, scheme]

    def _added(
        self, name: str, dtype: str, shape: Sequence[int], found: Iterator[np.ndarray]
    ) -> Symbol:
        return Symbol(self.weights.add(name, dtype, shape, found), self)

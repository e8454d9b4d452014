"""Write the products of a decoder's graph: rows by modules as they are stored, or widened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...checkpoints.llama.layout import Module
from ..proto import CONTRIB
from .stored import Reader, pieces
from .weights import Weights


class Products:
    """Put products and their weights into a model. `native` multiplies int8 activations."""

    def __init__(self, weights: Weights, modules: Mapping[str, Module], native: bool) -> None:
        self.weights = weights
        self.model = weights.model
        self.modules = modules
        self.native = native
        self.reader = Reader()
        self.sums: dict[tuple[str, int], str] = {}

    def linear(self, x: str, paths: Sequence[str]) -> list[str]:
        """Multiply x by modules; those of one form are one product, cut apart afterwards."""
        modules = [self.modules[path] for path in paths]
        forms = {(module.scheme, "bias" in module.parts) for module in modules}
        if len(modules) > 1 and len(forms) > 1:
            return [name for path in paths for name in self.linear(x, [path])]
        name = "+".join([paths[0], *(path.rpartition(".")[2] for path in paths[1:])])
        bias = self.bias(name, modules) if "bias" in modules[0].parts else None
        if modules[0].packs(self.native):
            made = self.packed(x, name, modules)
            made = self.node("Add", [made, bias], f"{name}.biased") if bias else made
        else:
            made = self.dense(x, name, modules, bias)
        if len(modules) == 1:
            return [made]
        sizes = self.weights.constant(f"{name}.sizes", [module.shape[0] for module in modules])
        self.model.node("Split", [made, sizes], outputs := [f"{path}.y" for path in paths], axis=-1)
        return outputs

    def bias(self, name: str, modules: Sequence[Module]) -> str:
        tensors = [module.parts["bias"] for module in modules]
        size = sum(tensor.shape[0] for tensor in tensors)
        found = (self.reader.rows(tensor, 0, tensor.shape[0]) for tensor in tensors)
        return self.weights.add(f"{name}.bias", "float32", [size], found)

    def dense(self, x: str, name: str, modules: Sequence[Module], bias: str | None) -> str:
        """Multiply by rows that are float32, or are made so; a large matrix in several products.

        ONNX Runtime has a matrix twice while it packs it, so that none may be too large.
        """
        width = modules[0].shape[1]
        cuts = [(module, *piece) for module in modules for piece in pieces(module)]
        several = len(modules) == 1 and bias is None
        groups = [cuts[at : at + 4] for at in range(0, len(cuts), 4)] if several else [cuts]
        made = []
        for place, group in enumerate(groups):
            rows = sum(end - start for _, start, end in group)
            weight = self.weights.add(
                f"{name}.weight{place}",
                "float32",
                [rows, width],
                (self.reader.dense(*cut) for cut in group),
            )
            inputs = [x, weight, *([bias] if bias else [])]
            made.append(self.node("Gemm", inputs, f"{name}.product{place}", transB=1))
        return made[0] if len(made) == 1 else self.node("Concat", made, f"{name}.whole", axis=-1)

    def packed(self, x: str, name: str, modules: Sequence[Module]) -> str:
        """Multiply by packed rows: s (q - z), then r by the sums of the groups of x."""
        scheme, width = modules[0].scheme, modules[0].shape[1]
        assert scheme is not None
        rows, groups = sum(module.shape[0] for module in modules), width // scheme.group_size
        sizes = {
            "codes": ("uint8", (rows, groups, scheme.group_size * scheme.bits // 8)),
            "scales": ("float32", (rows * groups,)),
            "rest": ("float32", (rows, groups)),
        }

        def read(part: str) -> Iterator[np.ndarray]:
            for module in modules:
                for piece in pieces(module):
                    yield self.reader.packed(module, part, *piece)

        codes, scales, rest = (
            self.weights.add(f"{name}.{part}", *sizes[part], read(part)) for part in sizes
        )
        product = self.node(
            "MatMulNBits",
            [x, codes, scales],
            f"{name}.main",
            CONTRIB,
            K=width,
            N=rows,
            bits=scheme.bits,
            block_size=scheme.group_size,
            accuracy_level=4 if self.native else 1,
        )
        sums = self.summed(x, scheme.group_size)
        return self.node("Gemm", [sums, rest, product], f"{name}.product", transB=1)

    def summed(self, x: str, size: int) -> str:
        """Sum each group of a row, once for all that multiply it."""
        if (x, size) not in self.sums:
            apart = self.weights.constant(f"groups_{size}", [0, -1, size])
            axis = self.weights.constant("axis_2", [2])
            groups = self.node("Reshape", [x, apart], f"{x}.groups_{size}")
            self.sums[x, size] = self.node(
                "ReduceSum", [groups, axis], f"{x}.sums_{size}", keepdims=0
            )
        return self.sums[x, size]

    def node(
        self, op: str, inputs: Sequence[str], output: str, domain: str = "", **values: int | float
    ) -> str:
        """Add a node with one output, and return its name."""
        self.model.node(op, inputs, [output], domain, **values)
        return output

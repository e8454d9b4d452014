"""The blocks as a graph of ONNX that is written in memory, in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import row_nodes
from .attention import write_attention
from .convolutions import write_causal_depthwise, write_convolution
from .proto import CONTRIB
from .weights import WeightsLayout


@dataclass(frozen=True, eq=False)
class Symbol:
    """A value of the graph; arithmetic on it adds nodes. A weight has its `shape`."""

    name: str
    blocks: OnnxBlocks
    shape: tuple[int, ...] = ()

    def _with(self, op: str, other: Symbol | float) -> Symbol:
        return self.blocks.node(op, self, self.blocks.as_symbol(other))

    def __add__(self, other: Symbol | float) -> Symbol:
        return self._with("Add", other)

    def __sub__(self, other: Symbol | float) -> Symbol:
        return self._with("Sub", other)

    def __mul__(self, other: Symbol | float) -> Symbol:
        return self._with("Mul", other)

    __rmul__ = __mul__

    def __truediv__(self, other: Symbol | float) -> Symbol:
        return self._with("Div", other)


class OnnxBlocks:
    """A `Blocks` that adds nodes and weights to a model; `read` returns a weight by its name.

    `names` are the weights there are. Convolutions' come as [out, *kernel, in].
    """

    def __init__(
        self, weights: WeightsLayout, names: Iterable[str], read: Callable[[str], np.ndarray]
    ) -> None:
        self.weights = weights
        self.names = frozenset(names)
        self.read = read
        self.count = 0
        self.added: dict[str, Symbol] = {}

    def node(
        self, op: str, *inputs: Symbol, domain: str = "", output: str = "", **attributes: Any
    ) -> Symbol:
        """Add a node with one output, which may be one of the graph's, and return it."""
        self.count += 1
        output = output or f"{op.lower()}_{self.count}"
        names = [each.name for each in inputs]
        self.weights.model.node(op, names, [output], domain, **attributes)
        return Symbol(output, self)

    def nodes(
        self, op: str, inputs: Sequence[Symbol], outputs: int, domain: str = "", **attributes: Any
    ) -> list[Symbol]:
        """Add a node with several outputs, and return them."""
        self.count += 1
        names = [f"{op.lower()}_{self.count}_{number}" for number in range(outputs)]
        self.weights.model.node(op, [each.name for each in inputs], names, domain, **attributes)
        return [Symbol(name, self) for name in names]

    def constant(self, value: np.ndarray) -> Symbol:
        key = f"constant {value.dtype} {value.shape} {value.tobytes()!r}"
        if key not in self.added:
            name = f"constant_{len(self.added)}"
            self.weights.models[-1].constant(name, value)  # also of a branch
            self.added[key] = Symbol(name, self)
        return self.added[key]

    def as_symbol(self, value: Symbol | float) -> Symbol:
        """Return a number as a constant of the graph."""
        return value if isinstance(value, Symbol) else self.constant(np.array(value, np.float32))

    def ints(self, *values: int) -> Symbol:
        """Return integers as a constant of the graph."""
        return self.constant(np.array(values, np.int64))

    def weight(self, name: str) -> Symbol:
        return self.changed_weight(name, name)

    def changed_weight(
        self, name: str, stored: str, change: Callable[[np.ndarray], np.ndarray] = np.asarray
    ) -> Symbol:
        """Add what is stored, or what it is changed to, once under a name."""
        if name not in self.added:
            value = np.ascontiguousarray(change(self.read(stored)), np.float32)
            self.weights.add(name, "float32", value.shape, [value])
            self.added[name] = Symbol(name, self, value.shape)
        return self.added[name]

    def has(self, name: str) -> bool:
        return name in self.names

    def evaluate(self, x: Symbol) -> Symbol:
        return x

    def float32(self, x: Symbol) -> Symbol:
        return x

    def like(self, x: Symbol, other: Symbol) -> Symbol:
        return x

    def linear(self, x: Symbol, name: str) -> Symbol:
        return self.node("Gemm", x, self.weight(f"{name}.weight"), *self._bias(name), transB=1)

    def matmul(self, a: Symbol, b: Symbol) -> Symbol:
        return self.node("MatMul", a, b)

    def convolution(
        self,
        x: Symbol,
        name: str,
        *,
        stride: int = 1,
        padding: int = 0,
        batched: bool = False,
        depthwise: bool = False,
    ) -> Symbol:
        made: Symbol = write_convolution(self, x, name, stride, padding, batched, depthwise)
        return made

    def causal_depthwise(self, x: Symbol, name: str) -> Symbol:
        made: Symbol = write_causal_depthwise(self, x, name)
        return made

    def layer_norm(self, x: Symbol, name: str, eps: float) -> Symbol:
        parts = [x, self.weight(f"{name}.weight"), *self._bias(name)]
        return self.node("LayerNormalization", *parts, axis=-1, epsilon=float(eps))

    def rms_norm(self, x: Symbol, name: str | None, eps: float, offset: float = 0.0) -> Symbol:
        if name is None:
            square = self.node("ReduceMean", x * x, self.ints(-1), keepdims=1)
            return x / self.sqrt(square + float(eps))
        weight = self.weight(f"{name}.weight")
        if offset:
            weight = weight + offset
        return self.node(
            "SimplifiedLayerNormalization", x, weight, axis=-1, epsilon=float(eps), stash_type=1
        )

    def attention(
        self,
        q: Symbol,
        k: Symbol,
        v: Symbol,
        num_heads: int,
        scale: float | None = None,
        bias: Symbol | None = None,
    ) -> Symbol:
        none, scale = Symbol("", self), float(scale or 0.0)  # 0 is 1 / sqrt(D)
        made: Symbol = write_attention(self, [q, k, v], none, num_heads, scale, bias)
        return made

    def softmax(self, x: Symbol) -> Symbol:
        return self.node("Softmax", x, axis=-1)

    def gelu(self, x: Symbol) -> Symbol:
        return self.node("Gelu", x, domain=CONTRIB)

    def gelu_tanh(self, x: Symbol) -> Symbol:
        return self.node("FastGelu", x, domain=CONTRIB)

    def silu(self, x: Symbol) -> Symbol:
        return self.node("QuickGelu", x, domain=CONTRIB, alpha=1.0)

    def relu(self, x: Symbol) -> Symbol:
        return self.node("Relu", x)

    def tanh(self, x: Symbol) -> Symbol:
        return self.node("Tanh", x)

    def sqrt(self, x: Symbol) -> Symbol:
        return self.node("Sqrt", x)

    def softplus(self, x: Symbol) -> Symbol:
        return self.node("Softplus", x)

    def glu(self, x: Symbol) -> Symbol:
        first, second = self.halves(x)
        return first * self.node("Sigmoid", second)

    def halves(self, x: Symbol) -> tuple[Symbol, Symbol]:
        first, second = self.nodes("Split", [x], 2, axis=-1, num_outputs=2)
        return first, second

    def sum(self, x: Symbol, axis: int) -> Symbol:
        return self.node("ReduceSum", x, self.ints(axis), keepdims=0)

    def max(self, x: Symbol, axis: int) -> Symbol:
        return self.node("ReduceMax", x, self.ints(axis), keepdims=0)

    def clip(self, x: Symbol, low: Symbol | float, high: Symbol | float) -> Symbol:
        return self.node("Clip", x, self.as_symbol(low), self.as_symbol(high))

    def clip_to_dtype(self, x: Symbol, bound: float) -> Symbol:
        bound = min(bound, float(np.finfo(np.float32).max))
        return self.clip(x, -bound, bound)

    def clip_float16(self, x: Symbol, bound: float) -> Symbol:
        return x

    def where(self, condition: Symbol, x: Symbol, value: float) -> Symbol:
        return self.node("Where", condition, x, self.as_symbol(value))

    def reshape(self, x: Symbol, *shape: int) -> Symbol:
        return self.node("Reshape", x, self.ints(*shape))

    def transpose(self, x: Symbol, *axes: int) -> Symbol:
        return self.node("Transpose", x, perm=list(axes))

    def expand(self, x: Symbol, axis: int) -> Symbol:
        return self.node("Unsqueeze", x, self.ints(axis))

    def concat(self, parts: Sequence[Symbol]) -> Symbol:
        return self.node("Concat", *parts, axis=-1)

    def gather(self, x: Symbol, rows: Symbol) -> Symbol:
        return self.node("Gather", x, rows, axis=0)

    def groups(self, x: Symbol, by: int, fill: float | None) -> Any:
        return row_nodes.write_groups(self, x, by, fill)

    def group_sizes(self, x: Symbol, by: int) -> Any:
        return row_nodes.write_group_sizes(self, x, by)

    def past(self, x: Symbol, size: int) -> Symbol:
        begins = self.node("Pad", x, self.ints(size - 1, 0), self.as_symbol(0.0), self.ints(0))
        return self.node("Gather", begins, row_nodes.write_past(self, x, size), axis=0)

    def in_past(self, x: Symbol, size: int) -> Symbol:
        return self.node("GreaterOrEqual", row_nodes.write_past(self, x, size), self.ints(size - 1))

    def _bias(self, name: str) -> list[Symbol]:
        return [self.weight(f"{name}.bias")] if self.has(f"{name}.bias") else []

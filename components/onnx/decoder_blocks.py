"""The blocks of decoders as an ONNX graph: attention whose keys and values stay outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

from ..models.attention import Attention
from ..models.decoder import ParsedDecoder
from ..models.rotary import Rotary
from .blocks import Symbol
from .head import Head, HeadRows, write_head
from .lora import Adapters
from .matmuls import Products, Rows
from .proto import CONTRIB
from .weights import Weights

Method = TypeVar("Method", bound=Callable[..., Any])
EVERY, CHOSEN = "every", "chosen"  # of the rows: which of them attend


def once(method: Method) -> Method:
    """Let a method of blocks write its nodes once for the same arguments."""

    @wraps(method)
    def written(self: OnnxDecoderBlocks, *given: Any) -> Any:
        key = (method.__name__, *given)
        if key not in self.written:
            self.written[key] = method(self, *given)
        return self.written[key]

    return written  # type: ignore[return-value]


class OnnxDecoderBlocks(Products):
    """A `DecoderBlocks`: activations are float32 [S, N], S rows of one sequence.

    Its graph takes the keys and values of the layers that remember them, `caches`, and gives the
    same memory back, written in place. `rotaries` are the ways to turn of which it takes angles.
    The updates of `adapters` are inputs too.
    """

    def __init__(
        self,
        weights: Weights,
        found: ParsedDecoder,
        rows: Rows,
        adapters: Adapters,
        head: Head = Head.AS_STORED,
    ) -> None:
        super().__init__(weights, found.modules, rows)
        self.adapters = adapters
        self.head = found.head
        self.head_form = head
        self.head_rows: HeadRows | None = None
        self.caches: dict[int, Attention] = {}
        self.rotaries: dict[Rotary, tuple[Symbol, Symbol]] = {}
        self.written: dict[tuple[Any, ...], Any] = {}

    def linear(self, x: Symbol, name: str) -> Symbol:
        if name != self.head.path or self.head_form is Head.AS_STORED:
            return super().linear(x, name)
        size = self.head.digits
        if self.head_form is Head.LEFT_OUT:
            return x
        if size is None:
            return super().linear(x, name)
        products, self.head_rows = write_head(self, x, self.head, size)
        return products

    def chosen(self, x: Symbol) -> Symbol:
        return self.gather(x, Symbol("chosen", self))

    def linears(self, x: Symbol, names: Sequence[str]) -> list[Symbol]:
        made = super().linears(x, names)
        return [self._adapted(x, *each) for each in zip(names, made, strict=True)]

    def _adapted(self, x: Symbol, name: str, y: Symbol) -> Symbol:
        """Add to rows times a module what the adapters that are on add."""
        module = self.adapters.modules.get(name)
        if module is None:
            return y
        outputs, inputs = module.shape
        a = self._input(f"lora_a {name}", [inputs, f"rank {name}"])
        b = self._input(f"lora_b {name}", [f"rank {name}", outputs])
        y = self.node("Gemm", self.matmul(x, a), b, y)
        if name not in self.adapters.scaled:
            return y
        factor, shift = (self._input(f"{what} {name}", [outputs]) for what in ("factor", "shift"))
        return y * factor + shift

    def _input(self, name: str, dims: Sequence[int | str]) -> Symbol:
        self.weights.model.add_input(name, "float32", dims)
        return Symbol(name, self)

    def cached_attention(
        self, q: Symbol, k: Symbol, v: Symbol, layer: int, attn: Attention
    ) -> Symbol:
        dims: list[int | str] = ["B", attn.num_kv_heads, "C", attn.head_dim]
        for kind in "kv":
            self.weights.model.add_input(f"past_{kind}{layer}", "float32", dims)
            self.weights.model.add_output(f"present_{kind}{layer}", "float32", dims)
        self.caches[layer] = attn
        if is_fused(attn):
            return self._fused(q, k, v, layer, attn)
        k, v = (self.reshape(x, -1, attn.num_kv_heads, attn.head_dim) for x in (k, v))
        self._remember(f"k{layer}", self._rotated(k, EVERY, attn))
        self._remember(f"v{layer}", v)
        return self._attend(q, EVERY, layer, attn)

    def chosen_attention(self, q: Symbol, layer: int, attn: Attention) -> Symbol:
        return self._attend(q, CHOSEN, layer, attn)

    def _angles(self, rotary: Rotary) -> tuple[Symbol, Symbol]:
        """Return cosines and sines of all positions, inputs of the graph."""
        if rotary not in self.rotaries:
            number = len(self.rotaries)
            for kind in ("cos", "sin"):
                dims: list[int | str] = [f"P{number}", rotary.dims // 2]
                self.weights.model.add_input(f"{kind}{number}", "float32", dims)
            self.rotaries[rotary] = Symbol(f"cos{number}", self), Symbol(f"sin{number}", self)
        return self.rotaries[rotary]

    def _fused(self, q: Symbol, k: Symbol, v: Symbol, layer: int, attn: Attention) -> Symbol:
        widths = [attn.num_heads, attn.num_kv_heads, attn.num_kv_heads]
        batch = []
        for x, heads in zip((q, k, v), widths, strict=True):
            batch.append(self.reshape(x, 1, -1, heads * attn.head_dim))
        names = [f"past_k{layer}", f"past_v{layer}", "last", "total"]
        inputs = [*batch, *(Symbol(name, self) for name in names), *self._angles(attn.rotary)]
        self.weights.model.node(
            "GroupQueryAttention",
            [each.name for each in inputs],
            [f"context{layer}", f"present_k{layer}", f"present_v{layer}"],
            CONTRIB,
            num_heads=attn.num_heads,
            kv_num_heads=attn.num_kv_heads,
            do_rotary=1,
            scale=float(attn.scale),
        )
        return self.node("Squeeze", Symbol(f"context{layer}", self), self.ints(0))

    def _remember(self, name: str, rows: Symbol) -> None:
        """Write rows [S, heads, head_dim] into a layer's memory at their positions."""
        rows = self.expand(self.transpose(rows, 1, 0, 2), 0)  # [1, heads, S, head_dim]
        at = self.reshape(self._positions(EVERY), 1, 1, -1, 1)
        at = self.node("Expand", at, self.node("Shape", rows))
        names = [f"past_{name}", at.name, rows.name]
        self.weights.model.node("ScatterElements", names, [f"present_{name}"], axis=2)

    def _attend(self, q: Symbol, which: str, layer: int, attn: Attention) -> Symbol:
        """Attend by plain products, for the heads, windows and rows that no kernel takes."""
        heads, group = attn.num_kv_heads, attn.num_heads // attn.num_kv_heads
        q = self._rotated(self.reshape(q, -1, attn.num_heads, attn.head_dim), which, attn)
        q = self.reshape(q * attn.scale, -1, heads, group, attn.head_dim)
        q = self.reshape(self.transpose(q, 1, 2, 0, 3), heads, -1, attn.head_dim)
        keys, values = (self._seen(f"present_{kind}{layer}", which, attn.window) for kind in "kv")
        logits = self.matmul(q, self.transpose(keys, 0, 2, 1))  # [heads, group S, seen]
        logits = self.where(self._mask(which, attn.window, group), logits, float("-inf"))
        context = self.matmul(self.softmax(logits), values)
        context = self.reshape(context, heads, group, -1, attn.head_dim)
        return self.reshape(self.transpose(context, 2, 0, 1, 3), -1, attn.num_heads * attn.head_dim)

    def _rotated(self, x: Symbol, which: str, attn: Attention) -> Symbol:
        """Rotate heads [S, heads, head_dim] by their positions."""
        cos, sin = self._turns(which, attn.rotary)
        half = attn.rotary.dims // 2
        sizes = [size for size in (half, half, attn.head_dim - 2 * half) if size]
        first, second, *rest = self.nodes("Split", [x, self.ints(*sizes)], len(sizes), axis=-1)
        rotated = [first * cos - second * sin, second * cos + first * sin]
        return self.concat([*rotated, *rest])

    @once
    def _turns(self, which: str, rotary: Rotary) -> list[Symbol]:
        """Return cosines and sines of the rows' angles [S, 1, pairs]."""
        positions = self._positions(which)
        return [self.expand(self.gather(table, positions), 1) for table in self._angles(rotary)]

    @once
    def _total(self) -> Symbol:
        """Return how many rows there are with those of this run, int64."""
        return self.node("Cast", Symbol("total", self), to=7)

    @once
    def _positions(self, which: str) -> Symbol:
        """Return the positions of the rows, int64 [S]."""
        if which == CHOSEN:
            return self.chosen(self._positions(EVERY))
        count = self.node("Squeeze", self.node("Shape", Symbol("embeds", self), start=0, end=1))
        return self.node("Range", self._total() - count, self._total(), self._one())

    @once
    def _first(self, which: str, window: int | None) -> Symbol:
        """Return the first position that any of the rows sees [1]."""
        if window is None:
            return self.ints(0)
        oldest = self.node("ReduceMin", self._positions(which), keepdims=1)
        return self.node("Max", oldest - self.ints(window - 1), self.ints(0))

    @once
    def _seen(self, name: str, which: str, window: int | None) -> Symbol:
        """Return what any of the rows sees of a layer's memory [heads, seen, head_dim]."""
        total = self.reshape(self._total(), 1)
        first = self._first(which, window)
        some = self.node("Slice", Symbol(name, self), first, total, self.ints(2))
        return self.node("Squeeze", some, self.ints(0))

    @once
    def _mask(self, which: str, window: int | None, group: int) -> Symbol:
        """Return which positions each row sees, as often as heads share them [group S, seen]."""
        rows = self.expand(self._positions(which), 1)
        start = self.node("Squeeze", self._first(which, window))
        columns = self.expand(self.node("Range", start, self._total(), self._one()), 0)
        mask = self.node("LessOrEqual", columns, rows)
        if window is not None:
            near = self.node("Greater", columns, rows - self.ints(window))
            mask = self.node("And", mask, near)
        return self.node("Tile", mask, self.ints(group, 1))

    def _one(self) -> Symbol:
        return self.node("Squeeze", self.ints(1))


def is_fused(attn: Attention) -> bool:
    """Return whether ONNX Runtime has one kernel for all of it.

    GroupQueryAttention takes heads of a multiple of 8 numbers and turns multiples of 16. Its
    window is not used: in ONNX Runtime 1.23 a row sees one row more by it than in 1.32.
    """
    return attn.window is None and attn.head_dim % 16 == 0 and attn.rotary.dims % 16 == 0

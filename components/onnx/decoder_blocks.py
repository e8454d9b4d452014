"""The blocks of decoders as an ONNX graph: attention whose keys and values stay outside."""

from __future__ import annotations

from ..models.attention import Attention
from ..models.decoder import ParsedDecoder
from ..models.rotary import Rotary
from .blocks import Symbol
from .matmuls import Products
from .proto import CONTRIB
from .weights import Weights


class OnnxDecoderBlocks(Products):
    """A `DecoderBlocks`: activations are float32 [S, N], S rows of one sequence.

    Its graph takes the keys and values of every layer and gives the same memory back, written in
    place. `rotaries` are the ways to turn of which it takes the angles.
    """

    def __init__(self, weights: Weights, found: ParsedDecoder) -> None:
        super().__init__(weights, found.modules, found.int8_activations)
        self.rotaries: dict[Rotary, tuple[Symbol, Symbol]] = {}
        self.positions: Symbol | None = None
        self.masks: dict[int | None, tuple[Symbol, Symbol]] = {}

    def chosen(self, x: Symbol) -> Symbol:
        return self.gather(x, Symbol("chosen", self))

    def cached_attention(
        self, q: Symbol, k: Symbol, v: Symbol, layer: int, attn: Attention
    ) -> Symbol:
        dims: list[int | str] = ["B", attn.num_kv_heads, "C", attn.head_dim]
        cache = []
        for kind in "kv":
            self.weights.model.add_input(f"past_{kind}{layer}", "float32", dims)
            self.weights.model.add_output(f"present_{kind}{layer}", "float32", dims)
            cache.append(Symbol(f"past_{kind}{layer}", self))
        attend = self._fused if is_fused(attn) else self._composed
        return attend(q, k, v, layer, attn, cache)

    def _angles(self, rotary: Rotary) -> tuple[Symbol, Symbol]:
        """Return cosines and sines of all positions, inputs of the graph."""
        if rotary not in self.rotaries:
            number = len(self.rotaries)
            for kind in ("cos", "sin"):
                dims: list[int | str] = [f"P{number}", rotary.dims // 2]
                self.weights.model.add_input(f"{kind}{number}", "float32", dims)
            self.rotaries[rotary] = Symbol(f"cos{number}", self), Symbol(f"sin{number}", self)
        return self.rotaries[rotary]

    def _fused(
        self, q: Symbol, k: Symbol, v: Symbol, layer: int, attn: Attention, cache: list[Symbol]
    ) -> Symbol:
        widths = [attn.num_heads, attn.num_kv_heads, attn.num_kv_heads]
        batch = [
            self.reshape(x, 1, -1, heads * attn.head_dim)
            for x, heads in zip((q, k, v), widths, strict=True)
        ]
        counts = [Symbol("last", self), Symbol("total", self)]
        inputs = [*batch, *cache, *counts, *self._angles(attn.rotary)]
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

    def _composed(
        self, q: Symbol, k: Symbol, v: Symbol, layer: int, attn: Attention, cache: list[Symbol]
    ) -> Symbol:
        """Attend by plain products, for the heads and windows that no kernel takes."""
        heads, group = attn.num_kv_heads, attn.num_heads // attn.num_kv_heads
        first, mask = self._visible(attn.window)
        k = self._rotated(self.reshape(k, -1, heads, attn.head_dim), attn)
        v = self.reshape(v, -1, heads, attn.head_dim)
        seen = []
        for kind, rows, past in zip("kv", (k, v), cache, strict=True):
            rows = self.expand(self.transpose(rows, 1, 0, 2), 0)  # [1, heads, S, head]
            at = self.reshape(self._positions(), 1, 1, -1, 1)
            at = self.node("Expand", at, self.node("Shape", rows))
            present = f"present_{kind}{layer}"
            names = [past.name, at.name, rows.name]
            self.weights.model.node("ScatterElements", names, [present], axis=2)
            total = self.node("Reshape", self._total(), self.ints(1))
            some = self.node("Slice", Symbol(present, self), first, total, self.ints(2))
            seen.append(self.node("Squeeze", some, self.ints(0)))
        q = self._rotated(self.reshape(q, -1, attn.num_heads, attn.head_dim), attn)
        q = self.reshape(q * attn.scale, -1, heads, group, attn.head_dim)
        q = self.transpose(q, 1, 2, 0, 3)  # [heads, group, S, head]
        keys, values = (self.expand(each, 1) for each in seen)
        logits = self.where(mask, self.matmul(q, self.transpose(keys, 0, 1, 3, 2)), float("-inf"))
        context = self.transpose(self.matmul(self.softmax(logits), values), 2, 0, 1, 3)
        return self.reshape(context, -1, attn.num_heads * attn.head_dim)

    def _rotated(self, x: Symbol, attn: Attention) -> Symbol:
        """Rotate heads [S, heads, head_dim] by their positions."""
        cos, sin = (
            self.expand(self.gather(table, self._positions()), 1)
            for table in self._angles(attn.rotary)
        )
        half = attn.rotary.dims // 2
        sizes = [size for size in (half, half, attn.head_dim - 2 * half) if size]
        first, second, *rest = self.nodes("Split", [x, self.ints(*sizes)], len(sizes), axis=-1)
        rotated = [first * cos - second * sin, second * cos + first * sin]
        return self.concat([*rotated, *rest])

    def _total(self) -> Symbol:
        return self.node("Cast", Symbol("total", self), to=7)

    def _positions(self) -> Symbol:
        """Return the positions of the rows, int64 [S]."""
        if self.positions is None:
            total = self._total()
            count = self.node("Squeeze", self.node("Shape", Symbol("embeds", self), start=0, end=1))
            one = self.node("Squeeze", self.ints(1))
            self.positions = self.node("Range", total - count, total, one)
        return self.positions

    def _visible(self, window: int | None) -> tuple[Symbol, Symbol]:
        """Return the first position that any row sees [1], and which ones each sees [S, seen]."""
        if window not in self.masks:
            rows = self.expand(self._positions(), 1)
            nothing = self.ints(0)
            first = nothing
            if window is not None:
                oldest = self.node("ReduceMin", self._positions(), keepdims=1)
                first = self.node("Max", oldest - self.ints(window - 1), nothing)
            start = self.node("Squeeze", first)
            one = self.node("Squeeze", self.ints(1))
            columns = self.expand(self.node("Range", start, self._total(), one), 0)
            mask = self.node("LessOrEqual", columns, rows)
            if window is not None:
                near = self.node("Greater", columns, rows - self.ints(window))
                mask = self.node("And", mask, near)
            self.masks[window] = first, mask
        return self.masks[window]


def is_fused(attn: Attention) -> bool:
    """Tell whether ONNX Runtime has one kernel for all of it.

    GroupQueryAttention takes heads of a multiple of 8 numbers and turns multiples of 16. Its
    window is not used: in ONNX Runtime 1.23 a row sees one row more by it than in 1.32.
    """
    return attn.window is None and attn.head_dim % 16 == 0 and attn.rotary.dims % 16 == 0

"""The blocks of decoders as an ONNX graph: attention whose keys and values stay outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from composer.formats.quantization import Scheme

from ..models.attention import Attention
from ..models.decoder import ParsedDecoder
from .batches import CHOSEN, EVERY, BatchedBlocks, write_nodes_once
from .blocks import Symbol
from .head import CoarseHead, HeadForm, write_coarse_head
from .lora import OnnxAdapters
from .low_rank import write_low_rank
from .matmuls import MatmulMode
from .proto import CONTRIB, TYPES
from .weights import WeightsLayout

STEP = 64


class OnnxDecoderBlocks(BatchedBlocks):
    """A `DecoderBlocks`: activations are float32 [B S, N], S rows of each of B sequences.

    So all rows are multiplied at once, and those of each sequence attend to its own.

    Its graph takes the keys and values of the layers that remember them, `caches`, and gives the
    same memory back, written in place. `rotaries` are the ways to turn of which it takes angles.
    `hidden` are the chosen rows as the head takes them, `coarse_head` is what a graph gives of a
    head whose products are coarse ones first.
    The updates of `adapters` are inputs too.
    """

    def __init__(
        self,
        weights: WeightsLayout,
        found: ParsedDecoder,
        rows: MatmulMode,
        in_pairs: Callable[[Scheme], bool],
        adapters: OnnxAdapters,
        head: HeadForm = HeadForm.AS_STORED,
    ) -> None:
        super().__init__(weights, found.modules, rows, in_pairs)
        self.adapters = adapters
        self.head = found.head
        self.head_form = head
        self.coarse_head: CoarseHead | None = None
        self.hidden: Symbol | None = None
        self.caches: dict[int, Attention] = {}

    def linear(self, x: Symbol, name: str) -> Symbol:
        if name != self.head.path:
            return super().linear(x, name)
        self.hidden = x
        if self.head_form is HeadForm.LEFT_OUT:
            return x
        if self.head_form is HeadForm.COARSE_FIRST and (
            found := write_coarse_head(self, x, self.head)
        ):
            products, self.coarse_head = found
            return products
        return super().linear(x, name)

    def linears(self, x: Symbol, names: Sequence[str]) -> list[Symbol]:
        made = super().linears(x, names)
        return [self._adapted(x, *each) for each in zip(names, made, strict=True)]

    def _adapted(self, x: Symbol, name: str, y: Symbol) -> Symbol:
        """Add to rows times a module what the adapters that are on add."""
        module = self.adapters.modules.get(name)
        if module is None:
            return y
        outputs, inputs = module.shape
        y = write_low_rank(self, x, y, name, (inputs, outputs))
        if name not in self.adapters.scaled:
            return y
        factor = self._input(f"factor {name}", [outputs])
        return y * factor + self._input(f"shift {name}", [outputs])

    def _input(self, name: str, dims: Sequence[int | str]) -> Symbol:
        self.weights.model.add_input(name, "float32", dims)
        return Symbol(name, self)

    def cached_attention(
        self,
        q: Symbol,
        k: Symbol,
        v: Symbol,
        layer: int,
        attn: Attention,
        ahead: Symbol | None = None,
    ) -> Symbol:
        dims: list[int | str] = ["B", attn.num_kv_heads, "C", attn.head_dim]
        for kind in "kv":
            self.weights.model.add_input(f"past_{kind}{layer}", "float32", dims)
            self.weights.model.add_output(f"present_{kind}{layer}", "float32", dims)
        self.caches[layer] = attn
        if ahead is None and is_fused(attn):
            return self._fused(q, k, v, layer, attn)
        k = self.reshape(k, -1, attn.num_kv_heads, attn.head_dim)
        v = self.reshape(v, -1, attn.num_kv_heads, attn.head_dim)
        self._remember(f"k{layer}", self._rotated(k, EVERY, attn), attn)
        self._remember(f"v{layer}", v, attn)
        return self._attend(q, EVERY, layer, attn, ahead)

    def chosen_attention(self, q: Symbol, layer: int, attn: Attention) -> Symbol:
        return self._attend(q, CHOSEN, layer, attn)

    def _fused(self, q: Symbol, k: Symbol, v: Symbol, layer: int, attn: Attention) -> Symbol:
        widths = [attn.num_heads, attn.num_kv_heads, attn.num_kv_heads]
        names = []
        for x, heads in zip((q, k, v), widths, strict=True):
            names.append(self._batch(x, -1, heads * attn.head_dim).name)
        names += [f"past_k{layer}", f"past_v{layer}", "last", "total"]
        names += [angles.name for angles in self._angles(attn.rotary)]
        self.weights.model.node(
            "GroupQueryAttention",
            names,
            [f"context{layer}", f"present_k{layer}", f"present_v{layer}"],
            CONTRIB,
            num_heads=attn.num_heads,
            kv_num_heads=attn.num_kv_heads,
            do_rotary=1,
            scale=float(attn.scale),
            softcap=float(attn.softcap or 0.0),
        )
        return self.reshape(Symbol(f"context{layer}", self), -1, attn.num_heads * attn.head_dim)

    def _remember(self, name: str, rows: Symbol, attn: Attention) -> None:
        """Write rows [B S, heads, head_dim] into a layer's memory at their positions."""
        rows = self._batch(rows, -1, attn.num_kv_heads, attn.head_dim)
        rows = self.transpose(rows, 0, 2, 1, 3)
        at = self._batch(self._positions(EVERY), 1, -1, 1)
        at = self.node("Expand", at, self.node("Shape", rows))
        names = [f"past_{name}", at.name, rows.name]
        self.weights.model.node("ScatterElements", names, [f"present_{name}"], axis=2)

    def _attend(
        self, q: Symbol, which: str, layer: int, attn: Attention, ahead: Symbol | None = None
    ) -> Symbol:
        """Attend by plain products, for the heads, windows and rows that no kernel takes."""
        heads, group, width = attn.num_kv_heads, attn.num_heads // attn.num_kv_heads, attn.head_dim
        q = self._rotated(self.reshape(q, -1, attn.num_heads, width), which, attn)
        q = self._batch(q * attn.scale, -1, heads, group, width)
        q = self._batch(self.transpose(q, 0, 2, 3, 1, 4), heads, -1, width)
        keys = self._seen(f"present_k{layer}", which, attn)
        values = self._seen(f"present_v{layer}", which, attn)
        logits = self.matmul(q, self.transpose(keys, 0, 1, 3, 2))  # [B, heads, group S, seen]
        if attn.softcap is not None:
            logits = self.tanh(logits / attn.softcap) * attn.softcap
        logits = self.where(self._mask(which, attn.window, group, ahead), logits, float("-inf"))
        context = self.matmul(self.softmax(logits), values)
        context = self.transpose(self._batch(context, heads, group, -1, width), 0, 3, 1, 2, 4)
        return self.reshape(context, -1, attn.num_heads * width)

    def _rotated(self, x: Symbol, which: str, attn: Attention) -> Symbol:
        """Rotate heads [B S, heads, head_dim] by their positions."""
        cos, sin = self._cos_sin(which, attn.rotary)
        half = attn.rotary.dims // 2
        sizes = [half, half]
        if attn.rotary.dims < attn.head_dim:
            sizes.append(attn.head_dim - 2 * half)
        first, second, *rest = self.nodes("Split", [x, self.ints(*sizes)], len(sizes), axis=-1)
        rotated = [first * cos - second * sin, second * cos + first * sin]
        return self.concat([*rotated, *rest])

    @write_nodes_once
    def _first(self, which: str, window: int | None) -> Symbol:
        """Return the first position that any row of a sequence sees [B, 1]."""
        if window is None:
            return self._totals() * self.ints(0)
        positions = self._batch(self._positions(which), -1)
        oldest = self.node("ReduceMin", positions, self.ints(1), keepdims=1)
        return self.node("Max", oldest - self.ints(window - 1), self.ints(0))

    @write_nodes_once
    def _columns(self, which: str, window: int | None) -> Symbol:
        """Return the positions that are looked at [B, seen], of which not all are seen.

        Their number is a multiple of STEP, so that no sequence's sums depend on the others'.
        """
        first = self._first(which, window)
        seen = self.node("ReduceMax", self._totals() - first, keepdims=0)
        seen = self.node("Div", seen + self.ints(STEP - 1), self.ints(STEP)) * self.ints(STEP)
        return first + self._range(seen)

    @write_nodes_once
    def _seen(self, name: str, which: str, attn: Attention) -> Symbol:
        """Return what is looked at of a layer's memory [B, heads, seen, head_dim]."""
        rows = self.reshape(Symbol(name, self), -1, attn.head_dim)
        return self.gather(rows, self._places(which, attn.window, attn.num_kv_heads))

    @write_nodes_once
    def _places(self, which: str, window: int | None, heads: int) -> Symbol:
        """Return where these rows lie in the memory of a layer [B, heads, seen]."""
        memory = Symbol(f"past_k{min(self.caches)}", self)  # all are alike
        capacity = self.node("Shape", memory, start=2, end=3)
        columns = self.node("Min", self._columns(which, window), capacity - self.ints(1))
        memories = self.node("Shape", Symbol("last", self)) * self.ints(heads)
        begins = self._batch(self._range(memories) * capacity, heads, 1)
        return begins + self.expand(columns, 1)

    @write_nodes_once
    def _mask(
        self, which: str, window: int | None, group: int, ahead: Symbol | None = None
    ) -> Symbol:
        """Return what each row sees [B, 1, group S, seen], as often as heads share it."""
        rows = self._batch(self._positions(which), -1, 1)
        columns = self.expand(self._columns(which, window), 1)
        mask = self.node("LessOrEqual", columns, rows)
        if ahead is not None:
            mask = self.node("Or", mask, self._same_block(which, window, ahead))
        if window is not None:
            near = self.node("Greater", columns, rows - self.ints(window))
            mask = self.node("And", mask, near)
        return self.expand(self.node("Tile", mask, self.ints(1, group, 1)), 1)

    def _same_block(self, which: str, window: int | None, ahead: Symbol) -> Symbol:
        """Return which columns end at the same row as each row, and up to it [B, S, seen]."""
        positions = self._batch(self._positions(which), -1)
        ends = positions + self._batch(self.node("Cast", ahead, to=TYPES["int64"]), -1)
        columns, count = self._columns(which, window), self.node("Shape", ends, start=1, end=2)
        places = columns - self._totals() + count  # of these rows; those before are seen anyway
        places = self.node("Max", places, self.ints(0))
        places = self.node("Min", places, count - self.ints(1))
        ends_of_columns = self.node("GatherElements", ends, places, axis=1)
        ends = self.expand(ends, 2)
        same = self.node("Equal", self.expand(ends_of_columns, 1), ends)
        return self.node("And", same, self.node("LessOrEqual", self.expand(columns, 1), ends))


def is_fused(attn: Attention) -> bool:
    """Return whether ONNX Runtime has one kernel for all of it.

    GroupQueryAttention takes heads of a multiple of 8 numbers and turns multiples of 16. Its
    window is not used: in ONNX Runtime 1.23 a row sees one row more by it than in 1.32.
    """
    return attn.window is None and attn.head_dim % 16 == 0 and attn.rotary.dims % 16 == 0

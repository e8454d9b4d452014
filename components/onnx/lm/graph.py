"""The graphs of a decoder: embeddings in, chosen rows and their logits out."""

from __future__ import annotations

from pathlib import Path

from ...models.attention import Attention
from ...models.decoder import ParsedDecoder
from ...models.rotary import Rotary
from ..blocks import Symbol
from ..decoder_blocks import OnnxDecoderBlocks
from ..head import HIDDEN, CoarseHead, HeadForm
from ..head_bounds import CoarseHeadBounds
from ..lora import OnnxAdapters
from ..matmuls import MatmulMode
from ..weights import WeightsLayout
from .int8_exactness import int8_planes_are_exact, int8_rows_are_summed_in_pairs


class DecoderGraphs:
    """What is written of a checkpoint.

    The first graph gives chosen rows as the head takes them, and logits where there is a head.
    Where packed weights are multiplied exactly, a second one reads many rows at a time and gives
    none. Once they are built, `rotaries` are those of their inputs, `caches` the layers that
    remember, and `head_rows`, once it is read, what bounds coarse products of the head.
    """

    def __init__(self, found: ParsedDecoder, adapters: OnnxAdapters) -> None:
        self.found = found
        self.adapters = adapters
        self.rotaries: list[Rotary] = []
        self.caches: dict[int, Attention] = {}
        self.coarse_head: CoarseHead | None = None
        self.head_rows: CoarseHeadBounds | None = None

    def build(self, weights: WeightsLayout) -> None:
        """Write the nodes and the weights, layer after layer."""
        found = self.found
        table = found.checkpoint.table
        weights.model.add_input("chosen", "int64", ["R"])
        exact = int8_planes_are_exact()
        rows = MatmulMode.FLOAT32
        if found.int8_activations:
            rows = MatmulMode.ROUNDED
        elif found.packed and exact:
            rows = MatmulMode.PLANES
        adapted = found.head.path in self.adapters.modules
        head = HeadForm.COARSE_FIRST if exact and not adapted else HeadForm.AS_STORED
        if not found.headed:
            head = HeadForm.LEFT_OUT
        blocks, logits = self._write(weights, rows, head)
        if found.headed:
            weights.model.node("Identity", [logits.name], ["logits"])
            weights.model.add_output("logits", "float32", ["W", table.rows])
        if blocks.hidden and not blocks.coarse_head:
            weights.model.node("Identity", [blocks.hidden.name], [HIDDEN])
            weights.model.add_output(HIDDEN, "float32", ["R", table.width])
        if rows is MatmulMode.PLANES:
            weights.begin()
            self._write(weights, MatmulMode.FLOAT32, HeadForm.LEFT_OUT)

    def read_back(self, weights: WeightsLayout, folder: Path) -> None:
        """Read from the data file what is wanted of it beside the graphs."""
        if self.coarse_head:
            self.head_rows = CoarseHeadBounds.read(
                weights, folder, self.found.head, self.coarse_head.group_size
            )

    def _write(
        self, weights: WeightsLayout, rows: MatmulMode, head: HeadForm
    ) -> tuple[OnnxDecoderBlocks, Symbol]:
        model = weights.model
        model.add_input("embeds", "float32", ["S", self.found.checkpoint.table.width])
        model.add_input("last", "int32", ["B"])
        model.add_input("total", "int32", [])
        for name, dims in self.found.inputs.items():
            model.add_input(name, "float32", ["S", *dims])
        blocks = OnnxDecoderBlocks(
            weights, self.found, rows, int8_rows_are_summed_in_pairs, self.adapters, head
        )
        more = {name: Symbol(name, blocks) for name in self.found.inputs}
        logits: Symbol = self.found.write(blocks, Symbol("embeds", blocks), **more)
        self.rotaries, self.caches = list(blocks.rotaries), blocks.caches
        self.coarse_head = blocks.coarse_head or self.coarse_head
        for file in blocks.reader.files.values():
            file.require_unchanged()
        return blocks, logits

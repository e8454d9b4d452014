"""The graph of a decoder: embeddings in, logits of chosen rows out."""

from __future__ import annotations

from ...models.attention import Attention
from ...models.decoder import ParsedDecoder
from ...models.rotary import Rotary
from ..blocks import Symbol
from ..decoder_blocks import OnnxDecoderBlocks
from ..weights import Weights


class DecoderGraph:
    """What is written of a checkpoint.

    Once it is built, `rotaries` are those of its inputs, and `caches` the layers that remember.
    """

    def __init__(self, found: ParsedDecoder) -> None:
        self.found = found
        self.rotaries: list[Rotary] = []
        self.caches: dict[int, Attention] = {}

    def build(self, weights: Weights) -> None:
        """Write the nodes and the weights, layer after layer."""
        table, model = self.found.checkpoint.table, weights.model
        model.add_input("embeds", "float32", ["S", table.width])
        model.add_input("chosen", "int64", ["R"])
        model.add_input("last", "int32", [1])
        model.add_input("total", "int32", [])
        for name, dims in self.found.inputs.items():
            model.add_input(name, "float32", ["S", *dims])
        blocks = OnnxDecoderBlocks(weights, self.found)
        more = {name: Symbol(name, blocks) for name in self.found.inputs}
        logits = self.found.write(blocks, Symbol("embeds", blocks), **more)
        model.node("Identity", [logits.name], ["logits"])
        model.add_output("logits", "float32", ["R", table.rows])
        self.rotaries, self.caches = list(blocks.rotaries), blocks.caches
        for file in blocks.reader.files.values():
            file.require_unchanged()

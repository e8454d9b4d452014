"""The graph of a decoder: embeddings in, logits of chosen rows out."""

from __future__ import annotations

from ...models.decoder import ParsedDecoder
from ...models.rotary import Rotary
from ..blocks import Symbol
from ..decoder_blocks import OnnxDecoderBlocks
from ..weights import Weights


class DecoderGraph:
    """What is written of a checkpoint; `rotaries` are those of its inputs, once it is built."""

    def __init__(self, found: ParsedDecoder) -> None:
        self.found = found
        self.rotaries: list[Rotary] = []

    def build(self, weights: Weights) -> None:
        """Write the nodes and the weights, layer after layer."""
        table, model = self.found.checkpoint.table, weights.model
        model.add_input("embeds", "float32", ["S", table.width])
        model.add_input("chosen", "int64", ["R"])
        model.add_input("last", "int32", [1])
        model.add_input("total", "int32", [])
        blocks = OnnxDecoderBlocks(weights, self.found)
        logits = self.found.write(blocks, Symbol("embeds", blocks))
        model.node("Identity", [logits.name], ["logits"])
        model.add_output("logits", "float32", ["R", table.rows])
        self.rotaries = list(blocks.rotaries)
        for file in blocks.reader.files.values():
            file.require_unchanged()

"""Load a decoder of Gemma-4 from a GGUF file, with the tokenizer beside it."""

import mlx.core as mx

from composer.components.mlx.gemma4 import MlxGemma4
from composer.components.onnx.gemma4 import OnnxGemma4
from composer.core.component import Spec
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.models.backends import arrays, plain

KINDS = {
    "onnx": (OnnxGemma4, Placement(threads=1)),
    "mlx": (MlxGemma4, Placement(device="cpu")),
}


def spec(file, kind=OnnxGemma4, precision=None):
    tokenizer = Location("tokenizer", "", file.parent)
    place = Location("repo", file.name, file.parent)
    return Spec("decoder", kind.Config(), place, tokenizer, precision)


def facts(file, backend="onnx"):
    kind, _ = KINDS[backend]
    return kind.facts(spec(file, kind), Headers())


def load(file, backend="onnx", precision=None, **more):
    """Return a decoder whose methods take NumPy's arrays and give them."""
    kind, placement = KINDS[backend]
    found = spec(file, kind, precision)
    placement = Placement(**placement.given, **more)
    lm = kind.load(found, kind.facts(found, Headers()), placement)
    return OnMlx(lm) if backend == "mlx" else lm


class OnMlx:
    """A decoder on MLX, with NumPy's arrays on both sides."""

    def __init__(self, lm):
        self.lm, self.decoder, self.table = lm, lm.decoder, lm.table

    def embed(self, ids):
        return plain(self.lm.embed(mx.array(ids)))

    def per_layer(self, ids):
        return plain(self.lm.per_layer(mx.array(ids)))

    def logits(self, *rows):
        return plain(self.lm.logits(*(arrays(self.lm, each) for each in rows)))

    def generate(self, *rows, **options):
        return self.lm.generate(*(arrays(self.lm, each) for each in rows), **options)

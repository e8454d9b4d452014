"""Load a decoder of Gemma-4 from a GGUF file, with the tokenizer beside it."""

from composer.components.onnx.gemma4 import OnnxGemma4
from composer.core.component import Spec
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers


def spec(file, kind=OnnxGemma4):
    tokenizer = Location("tokenizer", "", file.parent)
    return Spec("decoder", kind.Config(), Location("repo", file.name, file.parent), tokenizer)


def load(file):
    return OnnxGemma4.load(
        spec(file), OnnxGemma4.facts(spec(file), Headers()), Placement(threads=1)
    )

"""Check and load a published decoder as onnx.decoder does."""

import json

import pytest

from composer.components.onnx.decoder import OnnxDecoderFile
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.isolation import isolation
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.checkpoint_files import write_tokenizer

MODEL, EMBED = "onnx/decoder_model_merged.onnx", "onnx/embed_tokens.onnx"


def write_folder(model, folder, **changes):
    """Write what stands beside the graphs: the config and a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(model.config.to_json_string()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder, model.config.vocab_size)
    return folder


def spec(folder, file="onnx/model.onnx", **config):
    source = Location("repo", "", folder)
    return Spec("decoder", OnnxDecoderFile.Config(**config), source / file, source)


def facts_of(folder, file="onnx/model.onnx", **config):
    return OnnxDecoderFile.facts(spec(folder, file, **config), Headers())


def load(folder, file="onnx/model.onnx", isolated=False, placement=None, **config):
    own = spec(folder, file, **config)
    with isolation(isolated):
        placement = placement or Placement(threads=1)
        return OnnxDecoderFile.load(own, OnnxDecoderFile.facts(own, Headers()), placement)


def refusal(folder, file="onnx/model.onnx", **config):
    with pytest.raises(ComposerError) as caught:
        facts_of(folder, file, **config)
    return str(caught.value)

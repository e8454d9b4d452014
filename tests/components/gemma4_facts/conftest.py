"""Read the headers of a decoder with some of them changed."""

import json

import pytest

from composer.components.mlx.gemma4 import MlxGemma4
from composer.core.component import ComponentConfig, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats import Headers
from tests import replica


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gemma4") / "decoder"
    replica.tokenizer(folder, ("<bos>",))
    return folder


@pytest.fixture
def facts(home):
    def read(change=lambda shapes: None, precision=None, outer=(), **text):
        """Read facts of E4B with other tensors or other settings; None leaves one out."""
        shapes, config = replica.gemma4_shapes(), replica.gemma4_config()
        change(shapes)
        config |= dict(outer)
        inner = config["text_config"] | text
        config["text_config"] = {key: value for key, value in inner.items() if value != "left out"}
        replica.safetensors(home / "model.safetensors", shapes)
        (home / "config.json").write_text(json.dumps(config))
        location = Location("repo", "", home.parent) / home.name
        return MlxGemma4.facts(Spec("d", ComponentConfig(), location, None, precision), Headers())

    return read


@pytest.fixture
def error_text(facts):
    def read(*given, **more):
        with pytest.raises(ComposerError) as caught:
            facts(*given, **more)
        return str(caught.value).replace("repo/decoder/config.json: ", "")

    return read

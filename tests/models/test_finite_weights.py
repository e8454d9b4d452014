"""A weight of an encoder that is no number is refused when it is loaded, by its tensor's name."""

import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from composer.core import registry
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from composer.sources.shipped import shipped_folder

BUNDLES = shipped_folder("bundles")
BACKENDS = pytest.mark.parametrize("backend", ["mlx", "onnx", "numpy"])
PLACES = {
    "a matrix": ("meralion", "elderwise-mini/speech_encoder", "encoder", "layers.1.fc1.weight"),
    "a norm": ("meralion", "elderwise-mini/speech_encoder", "encoder", "layer_norm.bias"),
    "a convolution": ("meralion", "elderwise-mini/speech_encoder", "encoder", "conv2.weight"),
    "another file": ("meralion", "elderwise-mini/speech_encoder", "adaptor", "weight"),
    "a packed one": ("qwen3_asr_audio", "aligner-mini/checkpoint", "model", "layers.0.fc1.scales"),
    "beside packed": ("qwen3_asr_audio", "aligner-mini/checkpoint", "model", "conv2d1.weight"),
}


def loaded(kind, folder):
    component = registry.component(kind)
    spec = Spec("encoder", component.Config(), Location("repo", "", folder))
    return component.load(spec, component.facts(spec, Headers()), Placement())


@BACKENDS
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_it_is_refused_by_name(backend, place, bad, tmp_path):
    family, source, file, ending = PLACES[place]
    shutil.copytree(BUNDLES / source, tmp_path / "w")
    path = tmp_path / "w" / f"{file}.safetensors"
    state = load_file(path)
    name = next(name for name in state if name.endswith(ending))
    state[name].view(-1)[3] = bad
    save_file(state, path, metadata={"format": "mlx"})
    with pytest.raises(ComposerError) as caught:
        loaded(f"{backend}.{family}", tmp_path / "w")
    (problem,) = caught.value.problems
    module = name.rpartition(".")[0]
    assert problem.code == "S479"
    assert problem.message.startswith(f"repo/{path.name}: {module}.")
    assert " holds numbers that are NaN or infinite in " in problem.message
    assert caught.value.exit_code == 3


@BACKENDS
def test_what_is_finite_loads(backend):
    assert loaded(f"{backend}.meralion", BUNDLES / "elderwise-mini/speech_encoder")

"""Gemma-4's towers in llama.cpp's mmproj files against transformers with the file's weights."""

from __future__ import annotations

import numpy as np
import pytest

from composer.core.component import ComponentConfig, Spec
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.test_pixels import picture
from tests.formats.making import refusal
from tests.models import test_gemma4_audio, test_gemma4_vision
from tests.models.backends import BACKENDS, family
from tests.models.test_gemma4_vision import patches_of
from tests.reference import llama_cpp
from tests.reference.gemma4_audio import Gemma4Audio
from tests.reference.gemma4_vision import Gemma4Vision
from tests.reference.qwen3_asr import make_clip

pytestmark = pytest.mark.usefixtures("one_thread")
WIDTH, CLOSE = 96, 1e-4


def q8_0(name):
    return "q8_0"


def f16(name):
    return "f16"


def bf16(name):
    return "bf16"


def write(theirs, folder, kinds=lambda name: "f32", change=None):
    """Write the file of a model's towers, and give the model the weights that it stands for."""
    file = folder / "mmproj-gemma-4.gguf"
    parts = ("vision_tower", "embed_vision", "audio_tower", "embed_audio")
    state = {name: value for name, value in theirs.state(*parts).items()
             if "rotary_emb" not in name and "rel_pos_enc" not in name}  # fmt: skip
    is_speech = isinstance(theirs, Gemma4Audio)
    configs = {"audio_config": theirs.audio_config()} if is_speech else theirs.tower_configs()
    meant = llama_cpp.write_mmproj(state, configs, WIDTH, file, kinds, change)
    if change is None:
        theirs.model.load_state_dict(meant, strict=False)
    return file


def spec(file):
    return Spec("tower", ComponentConfig(), Location("repo", file.name, file.parent))


def load(name, backend, file):
    kind = family(name, backend)
    placement = Placement(device="cpu") if backend == "mlx" else Placement()
    return kind.load(spec(file), kind.facts(spec(file), Headers()), placement)


@pytest.fixture(scope="module", params=[q8_0, bf16])
def speech(request, tmp_path_factory):
    theirs = Gemma4Audio()
    return theirs, write(theirs, tmp_path_factory.mktemp("speech"), request.param)


@pytest.fixture(scope="module", params=[("e2b", q8_0), ("31b", f16)])
def sight(request, tmp_path_factory):
    kind, stored = request.param
    theirs = Gemma4Vision(kind)
    return theirs, write(theirs, tmp_path_factory.mktemp("sight"), stored)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_stage_of_speech_is_that_of_transformers(speech, backend):
    theirs, file = speech
    component = load("gemma4_audio", backend, file)
    test_gemma4_audio.test_every_stage_and_layer_is_that_of_transformers(component, theirs, 2.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_stage_of_sight_is_that_of_transformers(sight, backend):
    theirs, file = sight
    component = load("gemma4_vision", backend, file)
    compare = test_gemma4_vision.test_every_stage_and_layer_is_that_of_transformers
    compare(component, theirs, (60, 80))


def test_types_are_named_in_the_plan(speech, sight):
    _, file = speech
    found = family("gemma4_audio", "onnx").facts(spec(file), Headers())
    assert all(cast.endswith(" modules") for cast in found.casts)
    assert {cast.partition(" -> ")[0] for cast in found.casts} <= {"q8_0", "f16", "bf16"}
    assert found.casts


def pixel_by_pixel(metadata, tensors):
    weight = tensors["v.patch_embd.weight"]
    tensors["v.patch_embd.weight"] = weight.transpose(0, 2, 3, 1).reshape(weight.shape).copy()


def columns_for_rows(metadata, tensors):
    table = tensors["v.position_embd.weight"]
    tensors["v.position_embd.weight"] = table[::-1].copy()


def smaller_squares(metadata, tensors):
    metadata["clip.vision.projector.scale_factor"] = 1


def softplus_twice(metadata, tensors):
    for name in tensors:
        if "per_dim_scale" in name:
            tensors[name] = np.log1p(np.exp(tensors[name]))


def norms_by_their_names(metadata, tensors):
    for number in range(3):
        names = [f"a.blk.{number}.{name}.weight" for name in ("conv_norm", "norm_conv")]
        tensors.update(zip(names, [tensors[name] for name in reversed(names)], strict=True))


def wider_bounds(metadata, tensors):
    for name in tensors:
        if name.endswith(("_min", "_max")):
            tensors[name] = tensors[name] * 100


def rows_of(name, theirs, file):
    if name == "gemma4_vision":
        return load(name, "onnx", file)(patches_of(picture(60, 80)))
    mel, mask = theirs.features(make_clip(2.0))
    return load(name, "onnx", file)(mel[mask])


@pytest.mark.parametrize(
    "change", [pixel_by_pixel, columns_for_rows, smaller_squares, wider_bounds]
)
def test_sight_that_is_stored_otherwise_gives_other_rows(change, tmp_path):
    theirs = Gemma4Vision("e2b")
    want = theirs.stages(picture(60, 80))["rows"]
    assert_only_the_change_matters("gemma4_vision", theirs, want, change, tmp_path)


@pytest.mark.parametrize("change", [softplus_twice, norms_by_their_names, wider_bounds])
def test_speech_that_is_stored_otherwise_gives_other_rows(change, tmp_path):
    theirs = Gemma4Audio()
    want = theirs.stages(make_clip(2.0))["rows"]
    assert_only_the_change_matters("gemma4_audio", theirs, want, change, tmp_path)


def assert_only_the_change_matters(name, theirs, want, change, folder):
    right = rows_of(name, theirs, write(theirs, folder, change=lambda *_: None))
    assert np.abs(right - want).max() < CLOSE
    wrong = rows_of(name, theirs, write(theirs, folder, change=change))
    assert wrong.shape != want.shape or np.abs(wrong - want).max() > 100 * CLOSE


def without_bounds(metadata, tensors):
    for name in [name for name in tensors if name.endswith(("_min", "_max"))]:
        del tensors[name]


def another_kind(metadata, tensors):
    metadata["clip.vision.projector_type"] = "gemma3"


def scaled_pixels(metadata, tensors):
    metadata["clip.vision.image_std"] = [0.5, 0.5, 0.5]


def another_width(metadata, tensors):
    metadata["clip.vision.projection_dim"] = 64


def a_key_of_another(metadata, tensors):
    metadata["clip.vision.window_size"] = 112


def a_tensor_of_another(metadata, tensors):
    tensors["v.blk.0.ls1.weight"] = np.ones(48, np.float32)


def one_name_twice(metadata, tensors):
    tensors["std_bias"] = np.ones(48, np.float32)
    tensors["v.std_bias"] = np.ones(48, np.float32)


def without_a_norm(metadata, tensors):
    del tensors["v.blk.1.ffn_post_norm.weight"]


REFUSED = {
    without_bounds: "W273 use_clipped_linears contradicts the tensors",
    another_kind: "W241 is a file of encoders of the kind 'gemma3'\n"
    "    read are gemma4a, gemma4v, qwen3a",
    scaled_pixels: "vision_config.clip.vision.image_std",
    another_width: "vision_config.clip.vision.projection_dim",
    a_key_of_another: "vision_config.clip.vision.window_size",
    a_tensor_of_another: "vision_tower.v.blk.0.ls1.weight",
    one_name_twice: "W241 has two tensors that are the checkpoint's model.vision_tower.std_bias",
    without_a_norm: "vision_tower.encoder.layers.1.post_feedforward_layernorm.weight",
}


@pytest.mark.parametrize("change", REFUSED, ids=lambda each: each.__name__)
def test_it_refuses(change, tmp_path):
    file = write(Gemma4Vision("e2b"), tmp_path, change=change)
    found = refusal(lambda: family("gemma4_vision", "onnx").facts(spec(file), Headers()))
    assert REFUSED[change] in found


def test_a_tower_that_is_not_in_the_file_is_refused(tmp_path):
    file = write(Gemma4Vision("e2b"), tmp_path)
    found = refusal(lambda: family("gemma4_audio", "onnx").facts(spec(file), Headers()))
    assert "W222 repo/mmproj-gemma-4.gguf has no audio_tower.*" in found

"""Gemma 3's SigLIP tower and its projection against transformers' own, stage by stage."""

import json
from functools import partial

import mlx.core as mx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from composer.components.models import siglip
from composer.core.errors import ComposerError
from composer.core.quantization_recipe import QuantizationRecipe
from tests.components.test_pixels import picture, prepared
from tests.models.backends import BACKENDS, apply, arrays, plain
from tests.models.towers import Tower, copy_checkpoint
from tests.reference.gemma3 import IMAGE, Gemma3

TOWER = "vision_tower.vision_model."
PREPARED = {"mean": [0.5] * 3, "std": [0.5] * 3, "resample": "bilinear"}
SIZE = {"height": IMAGE, "width": IMAGE}
tower = Tower("siglip")
facts, load, error_text = tower.facts, tower.load, tower.error_text


@pytest.fixture(scope="module")
def theirs(one_thread):
    return Gemma3()


@pytest.fixture(scope="module")
def repo(theirs, tmp_path_factory):
    return theirs.write(tmp_path_factory.mktemp("gemma3") / "repo")


@pytest.fixture
def copied(repo, tmp_path):
    return lambda tensors=None, config=None: copy_checkpoint(
        repo, tmp_path / "repo", tensors, config
    )


def pixels_of(given):
    return prepared(given, size=SIZE, **PREPARED)


def close(found, want, tolerance=1e-5):
    return found.shape == want.shape and bool(np.abs(found - want).max() <= tolerance)


@pytest.mark.parametrize("shape", [(100, 60), (1080, 1920), (896, 896)])
def test_a_picture_is_prepared_as_transformers_does(shape):
    """Bit for bit, both sides forced to 896, which is the release's size and not the default."""
    from PIL import Image

    given, size = picture(*shape), {"height": 896, "width": 896}
    processor = Gemma3ImageProcessorPil(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    want = processor(Image.fromarray(given), return_tensors="np")["pixel_values"][0]
    assert np.array_equal(prepared(given, size=size, **PREPARED), want)
    if shape != (896, 896):
        other = PREPARED | {"resample": "bicubic"}
        assert not close(prepared(given, size=size, **other), want, 1e-2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_stage_is_that_of_transformers(repo, theirs, backend):
    pixels = pixels_of(picture(100, 60))
    want, component = theirs.stages(pixels), load(repo, backend=backend)
    settings = component.run.network.forward.args[0]

    def made(function, *given):
        return apply(component, partial(function, settings), *given)

    x = made(siglip.embed, pixels)
    assert close(x, want["embedded"])
    for number in range(settings.num_layers):
        at = f"{TOWER}encoder.layers.{number}."
        x = made(lambda s, nn, x, at=at: siglip.layer(s, nn, at, x), x)
        assert close(x, want[f"layer {number}"], 1e-4)
    x = want["normed"]
    assert close(made(siglip.pool, x), want["pooled"])
    assert close(made(siglip.project, want["pooled"]), want["rows"], 1e-4)
    rows = plain(component(arrays(component, pixels)))
    assert close(rows, want["rows"], 1e-4)
    x = want["pooled"]
    weight = "multi_modal_projector.mm_input_projection_weight"

    def norm(nn, offset=1.0):
        return nn.rms_norm(x, siglip.NORM, settings.eps, offset=offset)

    wrong = {
        "W transposed": lambda _, nn, x: nn.matmul(
            nn.rms_norm(x, siglip.NORM, settings.eps, offset=1.0),
            nn.transpose(nn.weight(weight), 1, 0),
        ),
        "1 not added": lambda _, nn, x: nn.matmul(
            nn.rms_norm(x, siglip.NORM, settings.eps), nn.weight(weight)
        ),
    }
    for why, function in wrong.items():
        assert not close(made(function, x), want["rows"], 1e-3), why
    bicubic = prepared(picture(100, 60), size=SIZE, **PREPARED | {"resample": "bicubic"})
    assert not close(plain(component(arrays(component, bicubic))), want["rows"], 1e-3)


def test_facts_are_those_of_the_tensors(repo):
    known = facts(repo)
    assert {symbol: bound.value for symbol, bound in known.dims.items()} == {
        "C": 3, "H": IMAGE, "W": IMAGE, "N": 4, "D": 64
    }  # fmt: skip
    assert known.notes == ()


def test_pixels_of_another_size_are_refused(repo):
    with pytest.raises(ComposerError, match="R550 pixels are 3 x 224 x 224; expected 3 x 56 x 56"):
        load(repo)(mx.zeros((3, 224, 224)))


def test_the_names_of_transformers_5_and_the_order_of_mlx_give_the_same(copied, repo, theirs):
    def renamed(state):
        for name in list(state):
            value = state.pop(name)
            if name.endswith("patch_embedding.weight"):
                value = value.permute(0, 2, 3, 1)
            state["model." + name.replace(TOWER, "vision_tower.")] = value

    pixels = mx.array(pixels_of(picture(40, 60)))
    assert np.array_equal(plain(load(copied(renamed))(pixels)), plain(load(repo)(pixels)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tower_that_mlx_vlm_quantized_is_read(tmp_path, theirs, backend):
    """Linears and the positions are packed where their rows are whole groups, here all but fc2."""
    folder, pixels = theirs.write(tmp_path / "repo"), pixels_of(picture(100, 60))
    state = load_file(folder / "model.safetensors")
    for name in list(state):
        path, matrix = name.removesuffix(".weight"), state[name]
        if not name.startswith(TOWER) or matrix.ndim != 2 or matrix.shape[1] % 64:
            continue
        parts = mx.quantize(mx.array(matrix.numpy()), group_size=64, bits=8)
        for part, value in zip(("weight", "scales", "biases"), parts, strict=True):
            state[f"{path}.{part}"] = torch.from_numpy(np.array(value))
    assert f"{TOWER}embeddings.position_embedding.scales" in state
    save_file(state, folder / "model.safetensors", metadata={"format": "mlx"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization"] = {"group_size": 64, "bits": 8}
    config["vision_config"]["skip_vision"] = False
    (folder / "config.json").write_text(json.dumps(config))
    component, want = load(folder, backend=backend), theirs.stages(pixels)["rows"]
    found = plain(component(arrays(component, pixels)))
    assert close(found, want, 0.2)
    assert not close(found, want, 1e-4)


def test_a_recipe_packs_the_tower(repo, theirs):
    pixels = pixels_of(picture(100, 60))
    made = load(repo, QuantizationRecipe(bits=8, group_size=16), "onnx")
    found, want = made(pixels), theirs.stages(pixels)["rows"]
    assert close(found, want, 0.2)
    assert not close(found, want, 1e-4)


TENSORS = {
    "missing": (
        lambda state: state.pop(f"{TOWER}post_layernorm.bias"),
        f"W270 1 tensor missing\n    {TOWER}post_layernorm.bias",
    ),
    "a head": (
        lambda state: state.update({f"{TOWER}head.probe": torch.ones(1, 1, 64)}),
        f"W271 1 tensor that no part of a vision tower has\n    {TOWER}head.probe",
    ),
    "positions of no square": (
        lambda state: state.update(
            {f"{TOWER}embeddings.position_embedding.weight": torch.ones(15, 64)}
        ),
        "W272 the number of patches is no square number",
    ),
    "no tower": (
        lambda state: [state.pop(name) for name in list(state) if TOWER in name],
        "W222 repo has no vision_tower.*",
    ),
    "of no part": (
        lambda state: state.update({"visual.weight": torch.ones(2)}),
        "W271 1 tensor of no part of such a checkpoint\n    visual.weight",
    ),
}
CONFIGS = {
    "image_size": ({"image_size": 224}, "W273 a config contradicts the side of a picture"),
    "hidden_act": ({"hidden_act": "gelu"}, "W273 vision_config.hidden_act is not gelu_pytorch"),
    "a head": ({"vision_use_head": True}, "W273 vision_config.vision_use_head is not False"),
    "unread": ({"pos_gain": 2.0}, "W273 vision_config.pos_gain is no setting of this encoder"),
}


@pytest.mark.parametrize("why", TENSORS)
def test_tensors_that_do_not_fit(copied, why):
    change, message = TENSORS[why]
    assert message in error_text(copied(change))


@pytest.mark.parametrize("why", CONFIGS)
def test_configs_that_contradict(copied, why):
    changes, message = CONFIGS[why]
    folder = copied(config=lambda values: values["vision_config"].update(changes))
    assert message in error_text(folder)


def test_rows_that_make_no_squares_are_refused(copied):
    folder = copied(config=lambda values: values.update(mm_tokens_per_image=9))
    message = (
        "W273 4 x 4 patches make no squares of which there are mm_tokens_per_image\n    9 comes"
    )
    assert message in error_text(folder)
    folder = copied(config=lambda values: values["vision_config"].pop("num_attention_heads"))
    assert "W274 repo/config.json has no vision_config.num_attention_heads" in error_text(folder)

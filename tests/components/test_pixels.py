"""Prepared pixels against transformers' image processors, and what is refused."""

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

import composer
from composer.components.image.pixels import Pixels
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.formats.image.reading import read_picture
from composer.formats.value_file import read_value_file
from tests.cli.conftest import cli
from tests.fakes import write

__all__ = ["cli"]

Image = pytest.importorskip("PIL.Image")
transformers = pytest.importorskip("transformers")
MODELS = transformers.models
CLIP = {
    "size": {"shortest_edge": 224},
    "crop": {"height": 224, "width": 224},
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
}
SIGLIP = {"size": {"height": 384, "width": 384}, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
VIT = {**SIGLIP, "size": {"height": 224, "width": 224}, "resample": "bilinear"}


def processors():
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    return {
        "clip": (CLIPImageProcessorPil(), CLIP),
        "siglip": (SiglipImageProcessorPil(size={"height": 384, "width": 384}), SIGLIP),
        "vit": (ViTImageProcessorPil(), VIT),
    }


def picture(height, width, seed=0):
    """Return a picture with edges and slopes: filters differ on it, and so do channels."""
    made = np.random.default_rng(seed)
    rough = made.integers(0, 256, (-(-height // 16), -(-width // 16), 3), np.uint8)
    return np.tile(np.repeat(np.repeat(rough, 16, 0), 16, 1)[:height, :width], 1)


def prepared(given, **config):
    spec = Spec("pixels", Pixels.Config.model_validate(config))
    facts = Pixels.facts(spec, None)
    return Pixels.load(spec, facts, Placement())(read_picture(given))


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (225, 224), (100, 301), (224, 224)])
@pytest.mark.parametrize("name", ["clip", "siglip", "vit"])
def test_equals_transformers(name, shape):
    processor, config = processors()[name]
    pixels = picture(*shape)
    (want,) = processor(Image.fromarray(pixels), return_tensors="np")["pixel_values"]
    got = prepared(pixels, **config)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    assert np.array_equal(got, want)
    last = prepared(pixels, **config, layout="channels_last")
    assert np.array_equal(last.transpose(2, 0, 1), want)


@pytest.mark.parametrize(
    "change",
    [
        {"resample": "bilinear"}, {"resample": "lanczos"}, {"resample": "nearest"},
        {"mean": [0.5, 0.5, 0.5]}, {"std": [0.5]}, {"channels": "bgr"}, {"rescale": 1 / 256},
        {"size": {"height": 224, "width": 224}}, {"mean": None},
    ],
)  # fmt: skip
def test_another_setting_gives_other_pixels(change):
    pixels = picture(480, 640)
    want, got = prepared(pixels, **CLIP), prepared(pixels, **{**CLIP, **change})
    assert got.shape == want.shape
    assert np.abs(got - want).max() > 1e-3


def test_channels():
    pixels = picture(20, 30)
    whole = {"rescale": 1.0, "layout": "channels_last"}
    assert np.array_equal(prepared(pixels, **whole), pixels)
    assert np.array_equal(prepared(pixels, **whole, channels="bgr"), pixels[:, :, ::-1])
    luma = (pixels @ np.float64([0.299, 0.587, 0.114]))[:, :, None]
    grey = prepared(pixels, **whole, channels="gray")
    assert grey.shape == (20, 30, 1)
    assert np.abs(grey - luma).max() <= 0.51


def test_transparency():
    pixels = picture(8, 8)
    alpha = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    given = np.dstack([pixels, alpha])
    whole = {"rescale": 1.0, "layout": "channels_last"}
    with pytest.raises(ComposerError) as caught:
        prepared(given, **whole)
    assert str(caught.value) == (
        "R596 <array> has 64 transparent pixels\n"
        "    hint: config: {alpha: drop} or a colour, {alpha: [255, 255, 255]}, says what to do"
    )
    assert np.array_equal(prepared(given, **whole, alpha="drop"), pixels)
    ground = Image.new("RGB", (8, 8), (10, 200, 255))
    ground.paste(Image.fromarray(pixels), mask=Image.fromarray(alpha))
    assert np.array_equal(prepared(given, **whole, alpha=[10, 200, 255]), np.asarray(ground))


@pytest.mark.parametrize(
    ("shape", "config", "message"),
    [
        ((20, 30), {"crop": {"height": 21, "width": 4}},
         "R596 20 rows of 30 pixels are less than the crop needs"),
        ((1, 60000), {"size": {"shortest_edge": 224}},
         "R596 a picture of 60000 x 1 pixels would be scaled to 13440000 x 224"),
    ],
)  # fmt: skip
def test_what_a_run_refuses(shape, config, message):
    with pytest.raises(ComposerError) as caught:
        prepared(np.zeros((*shape, 3), np.uint8), **config)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"size": {"height": 3}}, "give height and width, or shortest_edge alone"),
        ({"size": {}}, "give height and width, or shortest_edge alone"),
        ({"size": {"height": 3, "width": 3, "shortest_edge": 3}}, "or shortest_edge alone"),
        ({"mean": [0.5, 0.5]}, "mean has 2 numbers for 3 channels"),
        ({"mean": [0.5] * 3, "channels": "gray"}, "mean has 3 numbers for 1 channels"),
        (
            {"mean": [123.7, 116.3, 103.5]},
            "mean 123.7 is beyond the pixels, which are 0 to 1 after rescale: divide it by 255, or "
            "write rescale: 1",
        ),
        ({"std": [0.5, 0, 0.5]}, "every number of std must be above 0"),
        ({"size": {"shortest_edge": 200}, "crop": {"height": 224, "width": 100}},
         "crop is larger than what size leaves"),
        ({"size": {"height": 30, "width": 20}, "crop": {"height": 20, "width": 30}},
         "crop is larger than what size leaves"),
        ({"resample": "cubic"}, "'bicubic'"),
        ({"alpha": "white"}, "'drop'"),
        ({"alpha": [1, 2, 256]}, "less than or equal to 255"),
    ],
)  # fmt: skip
def test_what_is_no_preparation(config, why):
    with pytest.raises(ValidationError) as caught:
        Pixels.Config.model_validate(config)
    assert why in str(caught.value)


BUNDLE = {
    "composer": 1,
    "name": "seeing",
    "components": {"prepare": {"use": "image.pixels", "config": CLIP}},
    "inputs": {"picture": "image"},
    "graph": {
        "pixels": {
            "run": "prepare",
            "with": {"image": "$picture"},
            "expect": {"out": "3 224 224"},
            "range": [-3, 3],
        }
    },
    "outputs": {"pixels": "$pixels"},
}


def test_a_picture_goes_through_a_bundle(tmp_path, cli):
    path = write(tmp_path, yaml.safe_dump(BUNDLE))
    pixels = picture(300, 400)
    file = tmp_path / "picture.png"
    Image.fromarray(pixels).save(file)
    assert composer.check(path).problems == ()
    want = prepared(pixels, **CLIP)
    with composer.load(path) as bundle:
        for given in (str(file), file, file.read_bytes(), pixels, Image.fromarray(pixels)):
            assert np.array_equal(bundle.run(picture=given).outputs["pixels"], want)
        with pytest.raises(ComposerError, match="R591 float is no picture"):
            bundle.run(picture=3.0)
    taps = tmp_path / "taps.safetensors"
    assert cli("run", path, "-i", f"picture={file}", "--taps", taps)[0] == 0
    kept = read_value_file(taps)
    assert np.array_equal(kept["picture"], pixels)
    assert np.array_equal(kept["pixels"], want)
    again = tmp_path / "again.safetensors"
    code, _, errors = cli("run", path, "--feed", taps, "--taps", again)
    assert (code, errors) == (0, "")
    assert read_value_file(again).keys() == {"picture", "pixels"}
    code, _, errors = cli("run", path, "-i", f"picture={path}")
    assert code == 5
    assert ": R591 this is no readable picture: its format is none that is known" in errors


def test_wrong_pixels_fail_at_their_node(tmp_path):
    config = {**CLIP, "rescale": 1.0}
    text = yaml.safe_dump(
        {**BUNDLE, "components": {"p": {"use": "image.pixels", "config": config}}}
    )
    path = write(tmp_path, text.replace("run: prepare", "run: p"))
    with composer.load(path) as bundle, pytest.raises(ComposerError) as caught:
        bundle.run(picture=picture(300, 400))
    assert "R553 $pixels has numbers from " in str(caught.value)
    other = {**CLIP, "crop": {"height": 200, "width": 224}}
    text = yaml.safe_dump({**BUNDLE, "components": {"p": {"use": "image.pixels", "config": other}}})
    (problem,) = composer.check(write(tmp_path, text.replace("run: prepare", "run: p"))).problems
    assert str(problem).split(": ", 1)[1] == (
        "W230 'pixels' expects '3 224 224' of out, which is 'f32 3 200 224'\n"
        "    axis 1 comes from p: config.crop.height 200"
    )


def test_check_says_that_pillow_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("composer.formats.image.pillow.is_installed", lambda: False)
    (problem,) = composer.check(write(tmp_path, yaml.safe_dump(BUNDLE))).problems
    assert str(problem).split(": ", 1)[1] == (
        "W231 image.pixels needs Pillow, which is not installed\n"
        "    hint: pip install 'bundle-composer[image]'"
    )

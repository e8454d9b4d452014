"""Gemma-4's patches against transformers' image processor, and what is refused."""

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

import composer
from composer.components.image.gemma4 import Gemma4Patches
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.formats.image.reading import read_picture
from tests.components.test_pixels import picture
from tests.fakes import write

Image = pytest.importorskip("PIL.Image")
processing = pytest.importorskip("transformers.models.gemma4.image_processing_pil_gemma4")
BUDGETS = (70, 140, 280, 560, 1120)
SIZES = (  # height, width; the last ones are so narrow that a side would be 0
    (480, 640), (1080, 1920), (896, 896), (48, 48), (768, 768), (1, 1), (640, 479), (33, 1000),
    (3000, 200), (47, 4000), (4000, 47), (2, 3000),
)  # fmt: skip


def prepared(given, **config):
    return outputs(given, **config)["out"]


def outputs(given, **config):
    spec = Spec("patches", Gemma4Patches.Config.model_validate(config))
    facts = Gemma4Patches.facts(spec, None)
    return Gemma4Patches.load(spec, facts, Placement())(read_picture(given))


def theirs(given, **config):
    """Return transformers' patches [budget, P] and their positions (x, y), padding included."""
    processor = processing.Gemma4ImageProcessorPil(**config)
    made = processor(Image.fromarray(given), return_tensors="np")
    return made["pixel_values"][0], made["image_position_ids"][0]


@pytest.mark.parametrize("budget", BUDGETS)
def test_sizes_are_those_of_transformers(budget):
    config = Gemma4Patches.Config(max_soft_tokens=budget)
    drawn = np.random.default_rng(budget).integers(1, 3000, (300, 2)).tolist()
    for height, width in [*SIZES, *drawn]:
        want = processing.get_aspect_ratio_preserving_size(height, width, 16, budget * 9, 3)
        assert config.size(width, height) == want[::-1], (height, width)
        assert (want[0] // 48) * (want[1] // 48) <= budget


@pytest.mark.parametrize("budget", [70, 280])
@pytest.mark.parametrize("shape", SIZES)
def test_equals_transformers(shape, budget):
    given = picture(*shape)
    want, positions = theirs(given, max_soft_tokens=budget)
    made = outputs(given, max_soft_tokens=budget)
    got = made["out"]
    rows, columns, width = got.shape
    count = rows * columns
    assert got.dtype == np.float32
    assert np.array_equal(got.reshape(count, width), want[:count])
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(count, 2)
    assert np.array_equal(grid, positions[:count])
    assert np.array_equal(made["positions"], grid)
    assert np.array_equal(made["flat"], want[:count])
    assert (positions[count:] == -1).all()  # what follows is padding
    assert not want[count:].any()


@pytest.mark.parametrize(
    "change",
    [{"max_soft_tokens": 140}, {"resample": "bilinear"}, {"resample": "lanczos"}, {"patch_size": 8},
     {"pooling_kernel_size": 2}],
)  # fmt: skip
def test_another_setting_gives_other_patches(change):
    given = picture(480, 640)
    want, got = prepared(given), prepared(given, **change)
    assert got.shape != want.shape or np.abs(got - want).max() > 1e-3


def test_a_patch_is_its_pixels_row_by_row():
    given = picture(768, 768)  # as large as it is to be
    patches = prepared(given)
    assert patches.shape == (48, 48, 768)
    for row, column in ((0, 0), (3, 7), (47, 46)):
        cut = given[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
        assert np.array_equal(patches[row, column], (cut.reshape(-1) * (1 / 255)).astype("f4"))


def test_transparency_is_refused_unless_the_config_allows_it():
    given = picture(48, 48)
    clear = np.dstack([given, np.full((48, 48), 7, np.uint8)])
    with pytest.raises(ComposerError, match=r"R596 <array> has 2304 transparent pixels"):
        prepared(clear)
    assert np.array_equal(prepared(clear, alpha="drop"), prepared(given))
    assert not np.array_equal(prepared(clear, alpha=[255, 255, 255]), prepared(given))


@pytest.mark.parametrize("config", [{"max_soft_tokens": 100}, {"patch_size": 0}, {"size": 224}])
def test_what_is_no_preparation(config):
    with pytest.raises(ValidationError):
        Gemma4Patches.Config.model_validate(config)


BUNDLE = {
    "composer": 1,
    "name": "seeing",
    "components": {"prepare": {"use": "image.gemma4"}},
    "inputs": {"picture": "image"},
    "graph": {"patches": {"run": "prepare", "with": {"image": "$picture"}, "range": [0, 1]}},
    "outputs": {"patches": "$patches"},
}


def test_check_says_that_pillow_is_missing(tmp_path, monkeypatch):
    path = write(tmp_path, yaml.safe_dump(BUNDLE))
    assert composer.check(path).problems == ()
    monkeypatch.setattr("composer.formats.image.pillow.is_installed", lambda: False)
    (problem,) = composer.check(path).problems
    assert "W231 image.gemma4 needs Pillow, which is not installed" in str(problem)

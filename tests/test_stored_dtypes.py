"""A precision that cannot hold what is stored."""

import pytest
import torch

import composer
from tests.components.mlx_lm.models import save, torch_model

MANIFEST = """\
composer: 1
name: tiny
sources: {repo: ./repo}
components: {decoder: {use: mlx.lm, weights: repo/lm, precision: PRECISION}}
inputs: {ids: ids}
graph:
  words: {run: decoder.embed, with: {ids: $ids}}
  logits: {run: decoder.logits, with: {embeds: $words}}
outputs: {logits: $logits}
"""
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    found = {}
    for name, dtype in DTYPES.items():
        found[name] = tmp_path_factory.mktemp(name)
        save(torch_model(), found[name] / "repo" / "lm", dtype)
    return found


def warnings(folder, stated, **options):
    (folder / "bundle.yaml").write_text(MANIFEST.replace("PRECISION", stated))
    problems = composer.check(folder / "bundle.yaml", **options).problems
    return [each for each in problems if each.code == "L346"]


@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("precision", DTYPES)
def test_what_loses_digits_is_warned_of(folders, stored, precision):
    found = warnings(folders[stored], precision)
    assert bool(found) == (precision not in (stored, "float32"))
    if found:
        assert found[0].message == (
            f"precision is {precision}, which rounds weights that are stored in {stored}"
        )
        assert (found[0].place.line, found[0].severity) == (4, "warning")


def test_a_recipe_with_a_dtype_and_what_a_user_asks_for(folders):
    recipe = "{recipe: int8, dtype: float16}"
    assert len(warnings(folders["bfloat16"], recipe)) == 1
    asked = {"precision": {"decoder": "float16"}}
    assert warnings(folders["bfloat16"], "bfloat16", **asked) == []
    assert warnings(folders["bfloat16"], "{recipe: int8, dtype: float32}") == []


def test_nothing_that_is_shipped_is_warned_of():
    for name in ("elderwise-mini", "mega-asr-mini", "aligner-mini"):
        assert [each for each in composer.check(name).problems if each.code == "L346"] == []

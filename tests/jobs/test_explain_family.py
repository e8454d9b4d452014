"""A family explains itself by its kinds."""

import pytest

import composer
from composer.core import registry


def test_a_family_lists_its_kinds():
    text = composer.explain("lm")
    assert text.startswith("# lm\n\nA family: ")
    assert "- mlx.lm: Continue embeddings" in text
    assert "- onnx.lm: Continue embeddings" in text


@pytest.mark.parametrize("use", registry.use_names())
def test_whatever_a_manifest_may_use_is_explained(use):
    assert composer.explain(use).startswith(f"# {use}\n")


def test_a_misspelt_family_is_suggested():
    with pytest.raises(composer.ComposerError, match="did you mean 'meralion'"):
        composer.explain("meralon")

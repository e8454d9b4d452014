"""Explaining through Python alone."""

import pytest

import composer


def test_an_explanation_is_a_page():
    assert composer.explain("R543").startswith("# R543 ")
    with pytest.raises(composer.ComposerError, match="R545"):
        composer.explain("R999")

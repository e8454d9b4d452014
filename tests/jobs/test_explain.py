"""Explaining through Python alone."""

import pytest

import composer
from composer.jobs.config_fields import fields_of
from composer.jobs.explain import _keys
from composer.manifest.format import BundleFields


def test_an_explanation_is_a_page():
    assert composer.explain("R543").startswith("# R543 ")
    with pytest.raises(composer.ComposerError, match="R545"):
        composer.explain("R999")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("audio.log_mel.pad", "- seconds: int | None = None, 1 to 300. silence up to this length"),
        ("stack.layers", "- swiglu: mapping | None = None. silu of one half times the other"),
        ("stack.layers.swiglu.gate", "'first' | 'second'. the half that goes through"),
        ("lm.activations", "'float32' | 'int8' = 'float32'. `int8` rounds"),
        ("lm.generate", "- option top_k: int = 0, 0 or more. 0 keeps every token."),
        ("lm.generate.top_k", "int = 0, 0 or more. 0 keeps every token."),
        ("scatter", "- takes values: N D @S"),
        ("inputs.split", "- seconds: int, 1 to 3600. The most that a piece has"),
        ("emits", "# components.emits"),
        ("weights", "# components.adapters.weights"),
        (
            "components.decoder.precision",
            "- bits: 2 | 3 | 4 | 5 | 6 | 8 | None = None. Bits",
        ),
        ("mixed-8-4", "- *.self_attn.*: 8 bits, affine, groups of 64"),
        ("graph", "# graph"),
        ("with", "# graph.with"),
    ],
)
def test_settings_operators_and_keys(name, line):
    lines = composer.explain(name).splitlines()
    assert any(each.startswith(line) for each in lines)


def test_every_key_of_a_manifest_is_explained():
    for path, _ in _keys(BundleFields):
        assert f"# {path}" in composer.explain(path).splitlines()
        assert f"# {path}" in composer.explain(path.rpartition(".")[2]).splitlines() or (
            path.rpartition(".")[2] in fields_of(BundleFields)
        )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("audio.log_mel.padd", "audio.log_mel.pad"),
        ("mlx.lm.generat", "mlx.lm.generate"),
        ("inputs.splt", "inputs.split"),
        ("emit", "emits"),
        ("scater", "scatter"),
    ],
)
def test_a_misspelt_setting_or_key_is_suggested(name, meant):
    with pytest.raises(composer.ComposerError, match=f"did you mean '{meant}'"):
        composer.explain(name)

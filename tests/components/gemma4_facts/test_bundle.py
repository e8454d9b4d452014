"""A Gemma-4 decoder in a bundle, from its headers alone."""

import re

import pytest

import composer
from composer.components.mlx.gemma4 import MlxGemma4
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.runtime.profile import Profile
from tests.components.gemma4_facts.headers import AT, MANIFEST, messages


def test_per_layer_inputs_are_wired_where_there_are_any(facts, home):
    facts()
    assert messages(home) == []
    lacking = MANIFEST.replace(", per_layer: $rows", "").replace(
        "answer.text}", "answer.text, r: $rows}"
    )
    (problem,) = messages(home, lacking)
    assert problem.partition(" ")[2] == (
        "W204 decoder.generate needs input 'per_layer', which is not wired\n"
        "    42 comes from repo/decoder: the tensors of 42 layers\n"
        "    256 comes from repo/decoder: per_layer_projection_norm.weight [256]\n"
        "    hint: add it under 'with': per_layer: $..., as decoder.per_layer gives it"
    )


def test_a_decoder_without_them_has_no_such_port(facts, home):
    def plain(shapes):
        for name in list(shapes):
            if "per_layer" in name:
                del shapes[name]

    known = facts(plain, hidden_size_per_layer_input=0)
    assert {*MlxGemma4.methods} - {*known.methods} == {"per_layer"}
    assert not any("per_layer" in each.inputs for each in known.methods.values())
    assert {*known.dims} == {"D", "V"}
    problems = messages(home)
    assert [re.search("W2..", problem)[0] for problem in problems] == ["W201", "W203"]
    why = (
        "\n    others of mlx.gemma4 have it"
        "\n    repo/decoder: no embed_tokens_per_layer.weight, and no hidden_size_per_layer_input "
        "above 0\n"
    )
    assert f"W201 decoder (mlx.gemma4) has no method 'per_layer'{why}" in problems[0]
    assert f"W203 decoder.generate has no input 'per_layer'{why}" in problems[1]
    text = MANIFEST.replace("  rows: {run: decoder.per_layer, with: {ids: $ids}}\n", "")
    assert messages(home, text.replace(", per_layer: $rows", "")) == []


def test_a_loaded_table_counts_against_the_memory(facts, home):
    facts()
    assert messages(home) == []
    for profile, needs in (
        (Profile(memory=9 * 10**9), "9.29"),
        (Profile(Placement(tables="loaded"), memory=14 * 10**9), "14.9"),
    ):
        with pytest.raises(ComposerError, match=f"R505 the weights need {needs} GB, and the prof"):
            composer.load(home.parent / "bundle.yaml", profile=profile)


def test_check_refuses_without_reading_weights(facts, home):
    with pytest.raises(ComposerError):
        facts(lambda shapes: shapes.pop(f"{AT}norm.weight"))
    (problem,) = messages(home)
    assert problem.startswith("bundle.yaml:5:39: W277 repo/decoder/config.json: 1 tensor is missin")

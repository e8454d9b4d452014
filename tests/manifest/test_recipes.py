"""Recipes by name, and what a user asks for beside the manifest."""

from dataclasses import asdict

import pytest

from composer.core.errors import ComposerError
from composer.core.quantization_recipe import QuantizationRecipe, QuantizationRule, precision_json
from composer.formats.quantization import SCHEMES
from composer.manifest import read_manifest
from composer.manifest.precision_request import read_precision
from composer.manifest.recipes import PrecisionChange, recipes
from composer.runtime.opening import BundleOptions
from composer.runtime.profile import Profile, read_profile
from tests.manifest.writing import bundle

EIGHT = QuantizationRule(8, 64)


def precision_of(text):
    path = bundle(
        components=f"{{d: {{use: lm, precision: {text}}}}}",
        graph="{a: {run: d.embed, with: {}}}",
        outputs="{a: $a}",
    )
    return read_manifest(path).components["d"].precision


def test_a_recipe_is_named_in_the_manifest():
    mixed = precision_of("mixed-8-4")
    assert mixed == recipes()["mixed-8-4"].quantization
    assert (mixed.name, mixed.bits, mixed.group_size) == ("mixed-8-4", 4, 64)
    assert mixed.rules["*.self_attn.*"] == EIGHT
    assert precision_of("float16") == "float16"


def test_a_named_recipe_takes_rules_of_its_own_and_a_dtype():
    found = precision_of(
        "{recipe: ple-safe-4bit, dtype: float32, keep: [a], rules: {'*.q_proj': 8}}"
    )
    rules, added = {"*.q_proj": EIGHT}, ("*.q_proj", "a")
    assert found == QuantizationRecipe(
        4, 64, rules, ("a",), dtype="float32", name="ple-safe-4bit", added=added
    )
    assert found.required_globs == added
    assert precision_of("mixed-8-4").required_globs == ()


@pytest.mark.parametrize("mode", ["mxfp4", "mxfp8", "nvfp4"])
def test_a_mode_has_bits_and_a_group_size(mode):
    bits, size = SCHEMES[mode][2]
    assert precision_of(f"{{mode: {mode}}}") == QuantizationRecipe(bits, size, mode=mode)
    other = "{mode: MODE, rules: {'*.a': {mode: affine, bits: 8}}}".replace("MODE", mode)
    assert precision_of(other).rules == {"*.a": EIGHT}
    assert precision_of(f"{{bits: 4, rules: {{'*.a': {{mode: {mode}}}}}}}").rules == {
        "*.a": QuantizationRule(bits, size, mode)
    }


def test_each_recipe_is_a_packing_of_mlx():
    for name, named in recipes().items():
        recipe = named.quantization
        for each in (recipe, *recipe.rules.values()):
            bits, sizes, _ = SCHEMES[each.mode]
            assert each.bits in bits, name
            assert each.group_size in sizes, name
        assert named.summary


def test_what_is_asked_goes_over_a_manifest():
    recipe = QuantizationRecipe(4, dtype="float32")
    assert read_precision("float16").applied(recipe) == QuantizationRecipe(4, dtype="float16")
    assert read_precision("stored").applied(recipe) == "float32"
    assert read_precision("int8").applied("bfloat16").dtype == "bfloat16"
    assert read_precision("int8").applied(None).dtype is None
    assert PrecisionChange().applied(recipe) == recipe
    assert PrecisionChange().applied(None) is None
    profile = read_precision("mixed-8-4")
    assert read_precision("float16").over(profile).applied(None).name == "mixed-8-4"
    assert read_precision("stored").over(profile).applied(recipe) == "float32"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mixed84", "'mixed84' is neither a dtype nor a recipe; did you mean 'mixed-8-4'?"),
        ("", "'' is neither a dtype nor a recipe; there are float32, float16, bfloat16, stored"),
        ("int8,mxfp4", "'mxfp4' is one too many: give a recipe, a dtype, or one of each"),
        ("stored,int8", "'int8' is one too many"),
    ],
)
def test_a_text_that_says_nothing_is_refused(text, message):
    with pytest.raises(ValueError, match="o") as caught:
        read_precision(text)
    assert message in str(caught.value)


def test_what_is_asked_goes_to_another_process():
    for text in ("mixed-8-4,float32", "stored", "float16", "{recipe: int8, keep: [a]}"):
        asked = read_precision(text)
        assert PrecisionChange.read(asdict(asked)) == asked


def test_a_recipe_is_plain_data():
    assert precision_json("float16") == "float16"
    plain = precision_json(QuantizationRecipe(4, rules={"a": EIGHT}, keep=("b",)))
    assert plain["rules"] == {"a": {"bits": 8, "group_size": 64, "mode": "affine"}}
    assert plain["keep"] == ["b"]


def test_a_profile_asks_for_recipes_and_dtypes(tmp_path):
    file = tmp_path / "here.yaml"
    file.write_text(
        "components:\n"
        "  a: {precision: 'mixed-8-4,float32'}\n"
        "  b: {precision: {bits: 4, keep: [x]}}\n"
        "  c: {precision: stored}\n"
    )
    assert read_profile(file).precision == {
        "a": "mixed-8-4,float32",
        "b": QuantizationRecipe(4, keep=("x",)),
        "c": "stored",
    }
    file.write_text("components: {a: {precision: mixed84}, b: {precision: {bits: 7}}}\n")
    with pytest.raises(ComposerError) as caught:
        read_profile(file)
    first, second = caught.value.problems
    assert str(first).endswith(
        "M124 components.a.precision: 'mixed84' is neither a dtype nor a recipe; "
        "did you mean 'mixed-8-4'?"
    )
    assert "M124 components.b.precision.bits cannot be the number 7" in str(second)


def test_a_profile_and_what_is_asked_over_it_are_one():
    profile = Profile(precision={"decoder": "mixed-8-4"})
    asked = {"decoder": "float32", "encoder": "wrong"}
    whole = BundleOptions("any", profile=profile, precision=asked).asked()
    assert whole["decoder"] == read_precision("mixed-8-4,float32")
    assert whole["encoder"] == "wrong"  # which the check refuses


def test_a_recipe_in_braces_is_that_of_a_manifest():
    for text in (
        "{bits: 4, group_size: 32, rules: {'*.self_attn.*': 8}, keep: [a], dtype: float16}",
        "{recipe: mixed-8-4, rules: {'*.q_proj': 6}, keep: ['*.layers.0.*']}",
        "{mode: mxfp4}",
    ):
        assert read_precision(f" {text}").applied(None) == precision_of(text)
    asked = read_precision("{bits: 4, dtype: float16}")
    assert asked.applied("float32").dtype == "float16"
    assert read_precision("{bits: 4}").applied("float32").dtype == "float32"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("{bits: 7}", "precision.bits cannot be the number 7; choose from: 2, 3, 4, 5, 6, 8"),
        ("{bit: 4}", "unknown key 'bit' in precision; did you mean 'bits'?; keys here: bits"),
        ("{bits: 4", "expected ',' or '}' here"),
        ("{}", "precision: it needs bits, or a recipe or mode that has them"),
        (QuantizationRecipe(7), "bits '7' in mode affine; expected one of 1, 2, 3, 4, 5, 6, 8"),
        (QuantizationRecipe("4"), "bits '4' in mode affine"),
        (QuantizationRecipe(4, 16), "group_size '16' in mode affine; expected one of 32, 64, 128"),
        (QuantizationRecipe(4, mode="int4"), "the mode 'int4'; there are affine, mxfp4, mxfp8"),
        (QuantizationRecipe(4, dtype="half"), "the dtype 'half'; expected one of float32, float16"),
        (
            QuantizationRecipe(4, rules={"*.a": QuantizationRule(3, 32, "mxfp4")}),
            "the rule '*.a' has bits '3' in mode mxfp4; expected one of 4",
        ),
        (QuantizationRecipe(4, rules={"*.a": 8}), "the rule '*.a' has 8; write QuantizationRule("),
        (8, "8 is neither a text nor a recipe"),
    ],
)
def test_a_recipe_that_no_packing_has_is_refused(asked, message):
    with pytest.raises(ValueError, match="e") as caught:
        read_precision(asked)
    assert message in str(caught.value)

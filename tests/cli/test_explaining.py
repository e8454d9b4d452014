"""`composer explain`: of codes, kinds of components, their settings, and operators."""

from typing import get_args

import pytest
from pydantic import BaseModel

from composer import ComposerError
from composer.core import registry
from composer.jobs import explain

pytestmark = pytest.mark.usefixtures("fakes")


def test_explain_a_code(cli):
    for name in ("M121", "m121"):
        code, out, err = cli("explain", name)
        assert (code, err) == (0, "")
        assert out.startswith("# M121 Unknown key\n")
    code, out, err = cli("explain", "M199")
    assert (code, out) == (2, "")
    assert err.startswith(
        "R545 'M199' is not an error's code, a component's kind or setting, an operator or a key\n"
        "    hint: did you mean 'M1"
    )


def test_explain_lists_the_codes(cli):
    assert cli("explain") == (0, explain.error_index() + "\n", "")
    assert "M121  Unknown key" in explain.error_index().splitlines()


def test_explain_a_component(cli):
    code, out, err = cli("explain", "fake.echo")
    assert (code, err) == (0, "")
    assert out == (
        "# fake.echo\n"
        "\n"
        "A decoder that says how many rows it was given, as often as it may.\n"
        "\n"
        "Backend: numpy.\n"
        "Keys beside use, config and emits: precision.\n"
        "\n"
        "## .embed\n"
        "\n"
        "- takes ids: i64 T\n"
        "- gives out: T D @embed\n"
        "\n"
        "## .generate\n"
        "\n"
        "- takes embeds: T D @embed\n"
        "- option max_tokens: int = 3\n"
        "- option end: str = '.'\n"
        "- gives text: text\n"
        "- gives ids: i64 N\n"
        "- gives finish_reason: text\n"
    )
    assert "- width: int = 4\n" in cli("explain", "fake.widen")[1]


@pytest.mark.parametrize("name", registry.component_names())
def test_every_kind_of_component_explains_itself(name):
    text = explain.explain(name)
    assert text.startswith(f"# {name}\n\n")
    for word in ("Annotated", "FieldInfo", "Undefined", "Literal", "NoneType"):
        assert word not in text


def mappings(annotation):
    """Yield the models that a type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inside in get_args(annotation):
        yield from mappings(inside)


def paths(model, indent=""):
    for name, field in model.model_fields.items():
        yield f"{indent}- {name}: "
        for inner in mappings(field.annotation):
            yield from paths(inner, f"{indent}  ")


@pytest.mark.parametrize("name", registry.component_names())
def test_every_nested_setting_is_explained(name):
    lines = explain.explain(name).splitlines()
    for start in paths(registry.component(name).Config):
        assert any(line.startswith(start) for line in lines), start


def test_a_setting_stands_below_the_mapping_that_it_belongs_to():
    lines = explain.explain("mlx.stack").splitlines()
    at = lines.index("  - swiglu: mapping | None = None. silu of one half times the other")
    assert lines[at + 1].startswith("    - gate: 'first' | 'second'. the half that goes through")
    assert "  - slices: int = 1, 1 to 1000. the most" in explain.explain("audio.log_mel")


def test_types_and_ranges_are_as_one_writes_them():
    decoder = explain.explain("mlx.lm").splitlines()
    for line in (
        "- option max_tokens: int = 256, 1 to 1000000. The most tokens to generate.",
        "- option top_p: float = 1.0, above 0 and at most 1. 1 keeps every probability.",
        "- option seed: int = 0, 0 or more. The same seed gives the same tokens.",
        "- option stop: tuple[int | str, ...] = (). Ids, or tokens by their text, that stop "
        "generation like the model's own.",
    ):
        assert line in decoder
    features = explain.explain("audio.log_mel")
    assert "\n- mels: int, 1 to 512. mel filters" in features
    assert "\n- frames: 'floor' | 'ceil' = 'floor'. how many" in features
    assert "\n- optional: dict[str, str] = {}. named" in explain.explain("text.prompt")


def test_explain_what_is_neither():
    with pytest.raises(ComposerError, match=r"did you mean 'fake\.echo'"):
        explain.explain("fake.ecko")

"""Slots, fragments and ports of a template, and templates that are refused."""

import os

import numpy as np
import pytest
from pydantic import ValidationError

from composer.components.text.prompt import Prompt
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats.headers import Headers
from tests.components.prompt.tokenizers import ASR, FORCED, filled, id_of, made, rows, spec


def test_a_slot_may_have_the_name_of_a_parameter(qwen):
    prompt = made(qwen, template="{self}, {function} and {values}")
    given = prompt(self="a", function="b", values="c")
    assert given["text"] == "a, b and c"


def test_a_tokenizer_that_changed_since_the_check_is_refused(qwen, tmp_path):
    inside = tmp_path / "repo"
    inside.mkdir()
    file = inside / "tokenizer.json"
    file.write_bytes((qwen / "tokenizer.json").read_bytes())
    component_spec = Spec("prompt", Prompt.Config(template="a"), files=Location("repo", "", inside))
    facts = Prompt.facts(component_spec, Headers())
    os.utime(file, (1, 1))
    with pytest.raises(ComposerError, match=r"R530 repo/tokenizer\.json: changed after it was"):
        Prompt.load(component_spec, facts, Placement())
    file.rename(tmp_path / "outside.json")
    file.symlink_to(tmp_path / "outside.json")
    with pytest.raises(ComposerError, match="S400 is a link that leads out of repo"):
        Prompt.load(component_spec, facts, Placement())


def test_several_soft_slots_are_marked_in_order(qwen):
    component = made(qwen, template="<|im_start|>{a}<|im_end|>{b}x{c}", slot="<|audio_pad|>")
    ids, slots, shown = filled(component, a=rows(2), b="text", c=rows(3))
    pad = id_of(qwen, "<|audio_pad|>")
    assert slots.tolist() == [False, True, True, *[False] * (len(ids) - 6), True, True, True]
    assert [id for id, soft in zip(ids, slots, strict=True) if soft] == [pad] * 5
    assert shown == "<|im_start|><|audio_pad|>×2<|im_end|>textx<|audio_pad|>×3"


def test_the_authors_own_placeholder_is_no_slot(qwen):
    component = made(qwen, template="<|audio_pad|>{speech}", slot="<|audio_pad|>")
    ids, slots, _ = filled(component, speech=rows(2))
    assert ids == [id_of(qwen, "<|audio_pad|>")] * 3
    assert slots.tolist() == [False, True, True]


def test_a_fragment_is_left_out_unless_all_of_it_is_filled(qwen):
    optional = {"extra": "[{a}|{b}]"}
    component = made(qwen, template="x{extra}y", optional=optional)
    assert filled(component, a="1", b="2")[2] == "x[1|2]y"
    for values in ({}, {"a": "1"}, {"a": "1", "b": ""}, {"a": "1", "b": rows(0)}):
        assert filled(component, **values)[2] == "xy"
    facts = Prompt.facts(spec(qwen, template="{c}x{extra}y{a}", optional=optional), None)
    (signature,) = facts.methods.values()
    assert list(signature.inputs) == ["c", "a", "b"]
    assert signature.optional == {"b"}


def test_braces_are_escaped_by_doubling(qwen):
    component = made(qwen, template='{{"text": "{x}"}}')
    assert filled(component, x="{y}")[2] == '{"text": "{y}"}'


def test_the_ports_come_from_the_template(qwen):
    facts = Prompt.facts(spec(qwen, template=ASR, optional=FORCED), None)
    (signature,) = facts.methods.values()
    assert {key: " | ".join(map(str, ports)) for key, ports in signature.inputs.items()} == {
        "context": "text | _ _",
        "speech": "text | _ _",
        "language": "text | _ _",
    }
    assert {key: str(port) for key, port in signature.returns.items()} == {
        "ids": "i64 T",
        "slots": "bool T #context+speech+language",
        "context": "bool T #context",
        "speech": "bool T #speech",
        "language": "bool T #language",
        "text": "text",
    }
    assert signature.optional == {"language"}


def test_each_slot_has_marks_of_its_own(qwen):
    component = made(qwen, template="{seen}the{spoken}a", optional={}, slot="<|audio_pad|>")
    given = component(seen=rows(2), spoken=rows(3))
    (the,) = np.flatnonzero(np.diff(np.flatnonzero(~given["slots"])) > 1)
    assert given["seen"].tolist() == [k < 2 for k in range(len(given["ids"]))]
    assert np.flatnonzero(given["spoken"]).tolist() == [3 + the, 4 + the, 5 + the]
    assert not (given["seen"] & given["spoken"]).any()


def test_rows_of_a_fragment_that_is_left_out_have_no_marks(qwen):
    component = made(qwen, template="a{more}", optional={"more": "{seen}{b}"})
    given = component(seen=rows(2), b="")
    assert given["seen"].tolist() == [False] * len(given["ids"])


def test_a_slot_that_is_called_as_an_output_has_no_marks(qwen):
    facts = Prompt.facts(spec(qwen, template="{text}{ids}{slots}{a}"), None)
    (signature,) = facts.methods.values()
    assert list(signature.returns) == ["ids", "slots", "a", "text"]
    assert str(signature.returns["slots"]) == "bool T #text+ids+slots+a"
    given = made(qwen, template="{text}{ids}")(text=rows(1), ids=rows(2))
    assert given["text"] == "<text>×1<ids>×2"
    assert given["slots"].tolist() == [True] * 3


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"template": ""}, "the template is empty"),
        (
            {"template": "a {speech b"},
            "'{' at character 3 is not part of a slot: write {name}, or '{{' for the brace itself",
        ),
        ({"template": "a } b"}, "'}' at character 3 is not part of a slot"),
        ({"template": "a {} b"}, "'{' at character 3 is not part of a slot"),
        ({"template": "a {x!r} b"}, "'{' at character 3 is not part of a slot"),
        ({"template": "a {x.y} b"}, "'{' at character 3 is not part of a slot"),
        ({"template": "a\ufdd0b"}, "character 2, U+FDD0, is not allowed in text"),
        ({"template": "a", "optional": {"x": "{y}"}}, "the template has no {x} for the optional"),
        ({"template": "{x}", "optional": {"x": "y"}}, "the optional 'x' has no slot"),
        (
            {"template": "{x}{y}", "optional": {"x": "{y}", "y": "{z}"}},
            "the optional 'x' contains another one, 'y'",
        ),
        ({"template": "{x}", "optional": {"x": "{"}}, "'{' at character 1 is not part of a slot"),
        ({"template": "{x}", "optional": {"x": "{y}\ufdd0"}}, "'x' has U+FDD0"),
        ({"template": "{x}", "slots": "a"}, "Extra inputs are not permitted"),
    ],
)
def test_refuses_a_template_that_cannot_be_read(config, why):
    with pytest.raises(ValidationError) as caught:
        Prompt.Config.model_validate(config)
    assert why in str(caught.value)


def test_refuses_a_slot_that_the_tokenizer_lacks(qwen):
    with pytest.raises(ComposerError) as caught:
        Prompt.facts(spec(qwen, template="{x}", slot="<|audio_pas|>"), Headers())
    assert str(caught.value) == (
        f"config.slot: W253 the slot '<|audio_pas|>' is not an added token of repo/{qwen.name}\n"
        "    hint: did you mean '<|audio_pad|>'?"
    )


def test_warns_of_what_looks_like_a_token_but_is_none(qwen):
    config = {"template": "<|im_start|>a<|im_ende|>{x} <|im_ende|> 1<2>0 {y}"}
    (note,) = Prompt.facts(spec(qwen, **config, optional={"y": "{z}"}), Headers()).notes
    assert str(note) == (
        "config.template: L310 warning: '<|im_ende|>' in the template is plain text: "
        f"repo/{qwen.name} has no such token\n    hint: did you mean '<|im_end|>'?"
    )


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"template": "{x}{y}{x}"}, {"x": "text", "y": "text | _ _"}),
        ({"template": "{y}{o}", "optional": {"o": "{x}{x}"}}, {"x": "text", "y": "text | _ _"}),
        ({"template": "{x}{o}{p}", "optional": {"o": "{y}", "p": "{z}{y}"}},
         dict.fromkeys("xyz", "text | _ _")),
    ],
)  # fmt: skip
def test_rows_have_one_place(config, wanted):
    """A slot that occurs twice takes texts alone, so that check refuses rows for it."""
    inputs = Prompt.facts(Spec("prompt", Prompt.Config(**config)), None).methods["__call__"].inputs
    assert {name: " | ".join(map(str, ports)) for name, ports in inputs.items()} == wanted


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": "a\ud800b"}, "R523 'x' has U+D800 at character 2, which is not allowed in text"),
        ({"x": "\ufdd0\ufdd1"}, "R523 'x' has U+FDD0 at character 1, which is not allowed in text"),
        (
            {"x": "a" * 1_000_001},
            "R524 'x' has 1000001 characters; a prompt takes 1000000 at most",
        ),
        ({"x": ""}, "R525 the prompt is empty: every slot is unfilled"),
        (
            {"x": rows(2)},
            "R526 {x} occurs twice in the template, but its rows only once\n"
            "    hint: only a text may occur twice",
        ),
    ],
)
def test_refuses_values_that_make_no_prompt(qwen, values, message):
    component = made(qwen, template="{x}{x}")
    with pytest.raises(ComposerError) as caught:
        component(**values)
    assert str(caught.value) == message

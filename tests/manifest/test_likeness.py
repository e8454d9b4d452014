"""Tasks that are like another one: merged as variants are, and located."""

import json

import pytest
import yaml
from jsonschema import Draft202012Validator

import composer
from composer import ComposerError
from composer.manifest import read_manifest
from composer.manifest.schema import bundle_schema
from composer.manifest.tree import MAX_VALUES

TEXT = """\
composer: 1
name: two
components: {features: {use: audio.log_mel, config: {mels: 80}}}
tasks:
  first:
    summary: One
    inputs:
      audio: {type: audio, split: {seconds: 30}}
      at: {type: mask, default: [true]}
    graph:
      mel: {run: features, with: {audio: $audio}}
      more: {run: fill, with: {ids: $ids, at: $at, value: 0}}
    outputs: {mel: $mel, more: $more}
  second:
    like: first
    inputs: {audio: {channel: left, split: null}, ids: ids}
    graph:
      more: {with: {value: 7}}
      last: {run: fill, with: {ids: $more, at: $at, value: 1}}
    outputs: {more: $last}
  third: {like: second, summary: Three, graph: {last: null}, outputs: {more: null}}
"""


def manifest(tmp_path, text=TEXT, *changes, **more):
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "bundle.yaml").write_text(text)
    return read_manifest(tmp_path, **more)


def refused(tmp_path, *changes):
    with pytest.raises(ComposerError) as error:
        manifest(tmp_path, TEXT, *changes)
    return [str(each).replace(f"{tmp_path}/", "") for each in error.value.problems]


def test_a_task_is_the_other_with_its_own_keys(tmp_path):
    tasks = manifest(tmp_path).tasks
    assert list(tasks) == ["first", "second", "third"]
    first, second, third = tasks.values()
    assert first.graph["more"].with_["value"] == 0
    assert first.inputs["audio"].split.seconds == 30
    assert second.graph["more"].with_ == {"ids": "$ids", "at": "$at", "value": 7}
    assert list(second.graph) == ["mel", "more", "last"]
    assert (second.inputs["audio"].channel, second.inputs["audio"].split) == ("left", None)
    assert second.outputs == {"mel": "$mel", "more": "$last"}
    assert (second.summary, third.summary) == ("One", "Three")
    assert list(third.graph) == ["mel", "more"]
    assert third.outputs == {"mel": "$mel"}
    assert third.inputs == second.inputs


def test_a_problem_stands_where_its_value_is_written(tmp_path):
    changes = [
        ("value: 7", "value: seven"),
        ("ids: $more", "ids: $moer"),
        ("run: features", "run: x"),
    ]
    text = TEXT.replace("at: {type: mask", "ids: ids\n      at: {type: mask")
    for old, new in changes:
        text = text.replace(old, new)
    (tmp_path / "bundle.yaml").write_text(text)
    found = [(p.code, p.place.line) for p in composer.check(tmp_path).problems]
    lines = text.splitlines()
    at = [next(n for n, line in enumerate(lines, 1) if new in line) for _, new in changes]
    errors = [each for each in found if each[0].startswith("W")]
    assert errors == [("W202", at[2]), ("W216", at[0]), ("W206", at[1])]


def test_a_variant_changes_the_task_that_others_are_like(tmp_path):
    text = (
        TEXT
        + "variants: {deep: {tasks: {first: {graph: {mel: {run: other}}}, third: {summary: T}}}}"
    )
    tasks = manifest(tmp_path, text, variant="deep").tasks
    assert [task.graph["mel"].run for task in tasks.values()] == ["other"] * 3
    assert tasks["third"].summary == "T"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("like: first", "like: frist"),
            "bundle.yaml:15:11: M138 there is no task 'frist' above 'second'; did you mean "
            "'first'?\n    hint: tasks above it: first",
        ),
        (
            ("like: first", "like: second"),
            "bundle.yaml:15:11: M138 there is no task 'second' above 'second'\n"
            "    hint: tasks above it: first",
        ),
        (
            ("like: first", "like: third"),
            "bundle.yaml:15:11: M138 there is no task 'third' above 'second'\n"
            "    hint: tasks above it: first",
        ),
        (
            ("like: first", "like: [first]"),
            "bundle.yaml:15:11: M123 tasks.second.like should be the name of a task above, not "
            "a list",
        ),
    ],
)
def test_what_a_task_may_be_like(tmp_path, change, expected):
    assert refused(tmp_path, change)[0] == expected


def test_a_task_without_its_base_is_no_task(tmp_path):
    found = refused(tmp_path, ("    like: first\n", ""))
    assert found[0].startswith("bundle.yaml:15:14: M122 tasks.second.inputs.audio needs the key 't")


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        (("", ""), True),
        (("like: first", "like: 3"), False),
        (("like: first", "like: null"), False),
        (("like: first", "likes: first"), False),
        (("value: 7}", "value: 7}, wiht: {}"), False),
        (("channel: left", "channel: middle"), False),
        (("graph: {last: null}", "graph: {Last: null}"), False),
    ],
)
def test_the_schema_knows_tasks_that_are_like_others(change, valid):
    data = yaml.safe_load(TEXT.replace(*change))
    assert Draft202012Validator(bundle_schema()).is_valid(data) == valid


def test_growth_is_bounded(tmp_path):
    graph = {f"n{k}": {"run": "features"} for k in range(1000)}
    tasks = {"t0": {"graph": graph, "outputs": {"a": "$n1"}}}
    tasks |= {f"t{k}": {"like": f"t{k - 1}"} for k in range(1, 1000)}
    data = {"composer": 1, "name": "big", "components": {}, "tasks": tasks}
    (tmp_path / "bundle.json").write_text(json.dumps(data))
    with pytest.raises(ComposerError) as error:
        read_manifest(tmp_path)
    first = error.value.problems[0]
    assert first.code == "M101"
    assert f"more than {MAX_VALUES} values" in first.message


def test_what_two_tasks_share_is_reported_once(tmp_path):
    text = TEXT.replace("default: [true]", "default: yes please")
    (tmp_path / "bundle.yaml").write_text(text)
    found = [str(each).split(": ", 1)[1] for each in composer.check(tmp_path).problems]
    assert [each.split(" ")[:2] for each in found] == [
        ["M123", "tasks.first.inputs.at.default"],
    ]


def test_a_variant_of_a_misspelt_component_says_which_was_meant(tmp_path):
    variants = "variants: {wide: {components: {featurs: {config: {mels: 128}}}}}\ntasks:"
    (tmp_path / "bundle.yaml").write_text(TEXT.replace("tasks:", variants, 1))
    (found,) = [p for p in composer.check(tmp_path).problems if p.code == "M122"]
    assert (found.place.line, found.message, found.hint) == (
        4,
        "in the variant 'wide': there is no component 'featurs'; did you mean 'features'?",
        "a new one needs the key 'use'; components: features",
    )

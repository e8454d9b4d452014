"""Tasks that take a list of pictures: written out, given on the command line, and refused."""

import pytest

import composer
from composer.checker.picture_lists import write_out
from composer.cli.values import parse_inputs
from composer.core.errors import ComposerError
from composer.manifest import Input, Node, Task
from composer.runtime.picture_lists import with_pictures

PIXELS = "{use: image.pixels, config: {size: {height: 4, width: 6}}}"
TASK = Task(
    "see",
    {"pictures": Input("images"), "question": Input("text")},
    {
        "pixels": Node("prepare", {"image": "$pictures"}),
        "seen": Node("vision", {"pixels": "$pixels.out", "by": 2}),
        "asked": Node("look", {"pictures": ["$seen"], "question": "$question"}),
        "rows": Node("concat", {"values": ["$asked.x", "$seen"]}),
    },
    {"rows": "$rows"},
)


def test_what_depends_on_a_list_stands_once_for_each_picture():
    made = write_out(TASK, {"pictures": 3})
    assert {name: each.type for name, each in made.inputs.items()} == {
        "pictures": "images", "pictures_2": "image", "pictures_3": "image", "question": "text"
    }  # fmt: skip
    assert [*made.graph] == [
        "pixels", "pixels_2", "pixels_3", "seen", "seen_2", "seen_3", "asked", "rows"
    ]  # fmt: skip
    assert made.graph["seen_3"].with_ == {"pixels": "$pixels_3.out", "by": 2}
    assert made.graph["asked"].with_ == {
        "pictures": ["$seen", "$seen_2", "$seen_3"], "question": "$question"
    }  # fmt: skip
    assert made.graph["rows"].with_["values"] == ["$asked.x", "$seen", "$seen_2", "$seen_3"]
    assert write_out(TASK, {}) == TASK


def check(folder, inputs, nodes, outputs):
    file = folder / "bundle.yaml"
    file.write_text(
        f"composer: 1\nname: lists\ncomponents:\n  prepare: {PIXELS}\n"
        f"inputs: {inputs}\ngraph:\n{nodes}outputs: {outputs}\n"
    )
    return composer.check(file)


ONE = "  pixels: {run: prepare, with: {image: $pictures}}\n"


def test_what_is_not_joined_is_refused(tmp_path):
    found = check(tmp_path, "{pictures: images}", ONE, "{x: $pixels}").problems
    assert [str(each).partition("bundle.yaml:")[2] for each in found] == [
        "8:14: W235 $pixels is one value for each of pictures\n"
        "    hint: join them first: concat with {values: [$...]}, in brackets"
    ]
    two = "  both: {run: transpose, with: {x: $pictures, y: $others}}\n"
    found = check(tmp_path, "{pictures: images, others: images}", two, "{x: $both}").problems
    assert "W235 'both' would be run for each of others, pictures" in "\n".join(map(str, found))
    found = check(tmp_path, "{pictures: {type: images, default: []}}", ONE, "{x: $pixels}").problems
    assert "M135 inputs.pictures is images and takes no 'default'" in str(found[0])


def test_a_list_is_given_by_the_same_name_several_times(tmp_path):
    report = check(tmp_path, "{pictures: images, t: text}", ONE, "{x: $t}")
    graph = report.bundle.graphs["default"]
    given = ["pictures=a.png", "t=x", "pictures=b.png"]
    assert parse_inputs(graph, given) == {"pictures": ["a.png", "b.png"], "t": "x"}
    checked, inputs = with_pictures(report.bundle, "default", {"pictures": ["a", "b"], "t": "x"})
    assert inputs == {"pictures": "a", "pictures_2": "b", "t": "x"}
    assert {"pixels", "pixels_2"} <= checked.graphs["default"].nodes.keys()
    same, inputs = with_pictures(report.bundle, "default", {"pictures": "a"})
    assert same is report.bundle
    assert inputs == {"pictures": "a"}
    with pytest.raises(ComposerError, match="R542 'pictures' has 0 pictures; expected 1 to 64"):
        with_pictures(report.bundle, "default", {"pictures": []})

"""What a node expects of its outputs is compared when a bundle is checked, and in each run."""

import numpy as np
import pytest

import composer
from composer.core.errors import ComposerError
from tests.fakes import BUNDLE, write

pytestmark = pytest.mark.usefixtures("fakes")
ROWS = """\
composer: 1
name: rows
components: {}
inputs: {x: {type: tensor, port: f32 1500 80}, free: {type: tensor, port: f32 N 80}}
graph:
  out: {run: pool, with: {x: $x, by: 4}, MORE}
  other: {run: pool, with: {x: $free, by: 2}, OTHER}
outputs: {out: $out, other: $other}
"""


def path(folder, more="expect: {}", other="expect: {}"):
    return write(folder, ROWS, ("MORE", more), ("OTHER", other))


def problems(folder, *args):
    found = composer.check(path(folder, *args)).problems
    return [f"{p.place.line}: {str(p).split(': ', 1)[1]}" for p in found]


@pytest.mark.parametrize("expected", ["375 80", "f32 375 80", "_ 80", "T D", "f32 375 _", "375 D"])
def test_what_is_as_expected(tmp_path, expected):
    assert problems(tmp_path, f'expect: {{out: "{expected}"}}') == []


@pytest.mark.parametrize(
    ("expected", "more"),
    [
        ("750 80", "\n    axis 0 comes from pool of x [1500, 80]"),
        ("375 81", "\n    axis 1 comes from the input x: 'f32 1500 80'"),
        ("D D", "\n    axis 1 comes from the input x: 'f32 1500 80'"),
        ("f16 375 80", ""),
        ("375 80 1", ""),
        ("375", ""),
        ("375 80 @decoder.embed", ""),
        ("text", ""),
    ],
)
def test_what_is_not_as_expected(tmp_path, expected, more):
    (found,) = problems(tmp_path, f'expect: {{out: "{expected}"}}')
    assert found == f"6: W230 'out' expects '{expected}' of out, which is 'f32 375 80'{more}"


def test_an_output_that_is_not_there(tmp_path):
    assert problems(tmp_path, 'expect: {oot: "375 80"}') == [
        "6: W230 'out' has no output 'oot'; did you mean 'out'?\n    hint: it has: out"
    ]


def test_a_length_that_only_a_run_knows(tmp_path):
    expecting = path(tmp_path, other='expect: {out: "3 D"}')
    assert composer.check(expecting).problems == ()
    given = {"x": np.zeros((1500, 80), np.float32)}
    with composer.load(expecting) as bundle:
        bundle.run(free=np.zeros((6, 80), np.float32), **given)
        with pytest.raises(ComposerError) as caught:
            bundle.run(free=np.zeros((8, 80), np.float32), **given)
    assert str(caught.value).split(": ", 1)[1] == (
        "R501 axis 0 of $other is 4, but 3 was expected\n"
        "    3 comes from what 'other' expects: '3 D'\n"
        "    at node 'other' (pool), given x f32 [8, 80]"
    )


def test_an_expected_length_is_known_further_on(tmp_path):
    text = ROWS.replace("outputs:", "  last: {run: pool, with: {x: $other, by: 2}}\noutputs:")
    text = text.replace("other: $other}", "other: $last}")
    changes = ("MORE", "expect: {}"), ("OTHER", 'expect: {out: "7 D"}')
    (problem,) = composer.check(write(tmp_path, text, *changes)).problems
    assert problem.code == "W229"
    assert "pool cannot group 7 rows by 2" in problem.message


@pytest.mark.parametrize(
    ("limits", "numbers", "message"),
    [
        ("[-1, 1]", [[-1, 0.5, 1]], None),
        ("[null, 1]", [[-100, 1]], None),
        ("[0, null]", [[0, 100]], None),
        ("[-1, 1]", [[-1, 0.5, 1.5]], "-1 to 1.5, and its node expects -1 to 1"),
        ("[0, null]", [[-0.25, 0]], "-0.25 to 0, and its node expects 0 to any"),
        ("[null, 0.5]", [[-0.25, 1]], "-0.25 to 1, and its node expects any to 0.5"),
    ],
)
def test_a_range(tmp_path, limits, numbers, message):
    bundle = f"""\
composer: 1
name: turned
components: {{}}
inputs: {{x: {{type: tensor, port: f32 A B}}}}
graph: {{out: {{run: transpose, with: {{x: $x}}, range: {limits}}}}}
outputs: {{out: $out}}
"""
    with composer.load(write(tmp_path, bundle)) as loaded:
        if message is None:
            loaded.run(x=np.float32(numbers))
            return
        with pytest.raises(ComposerError) as caught:
            loaded.run(x=np.float32(numbers))
    shape = [len(numbers), len(numbers[0])]
    assert str(caught.value).split(": ", 1)[1] == (
        f"R553 $out has numbers from {message}\n    at node 'out' (transpose), given x f32 {shape}"
    )


def test_masks_and_texts_have_no_range(tmp_path):
    run = "{run: frames, with: {audio: $audio}"
    marked = write(tmp_path, BUNDLE, (f"{run}}}", f"{run}, range: [-1, 0.9]}}"))
    clip = np.arange(16, dtype=np.float32) / 16
    with composer.load(marked) as loaded:
        loaded.run(audio=(clip[:8], 8000))
        with pytest.raises(ComposerError, match=r"R553 \$mel has numbers from 0 to 0\.9375"):
            loaded.run(audio=(clip, 8000))
    text = BUNDLE.replace(
        "outputs:", "  loud: {run: upper, with: {text: $answer.text}, RANGE}\noutputs:"
    )
    text = text.replace("  echo: {use", "  upper: {use: fake.upper}\n  echo: {use")
    text = text.replace("text: $answer.text}\n", "text: $loud}\n").replace("RANGE", "range: [0, 1]")
    (problem,) = composer.check(write(tmp_path, text)).problems
    assert str(problem).split(": ", 1)[1] == (
        "W230 'loud' gives no numbers, so they have no range\n    hint: remove it"
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("range: [1, -1]", "M124 graph.out.range: 1 is not below -1\n"
         "    hint: write the least number, then the greatest"),
        ("range: [null, null]", "M124 graph.out.range has no limit\n"
         "    hint: write a number or two"),
        ("range: [1]", "M124 graph.out.range should have 2 items, not 1"),
        ("range: 1", "M123 graph.out.range should be a list, not the number 1\n"
         "    hint: a list stands in brackets: [a, b]"),
        ("range: [a, 1]", "M123 graph.out.range[0] should be a number, not 'a'\n"
         "    hint: write it as a plain number, without quotes"),
        ("expect: {out: 750}", "M123 graph.out.expect.out should be text, not the number 750\n"
         "    hint: put it in quotes"),
        ("expect: {out: 750 D*}", "M136 graph.out.expect.out: 'D*' in '750 D*' is neither a "
         "number, a symbol nor '_'"),
        ("expect: {out: 'bool T #x'}", "M136 graph.out.expect.out: an expectation marks no rows\n"
         "    hint: write dtype, dims and space alone"),
        ("expect: {$out: 750 D}", "M125 '$out' in graph.out.expect is not an output's name\n"
         "    hint: outputs have letters, digits and '_'"),
    ],
)  # fmt: skip
def test_what_is_no_expectation(tmp_path, more, message):
    assert problems(tmp_path, more) == [f"6: {message}"]


def test_a_dtype_by_its_long_name_is_no_dim(tmp_path):
    (found,) = problems(tmp_path, 'expect: {out: "float32 375 80"}')
    assert found.endswith("hint: 'float32' is a dim there: the dtype is written f32")

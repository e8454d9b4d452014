import json
from xml.etree import ElementTree

import numpy as np
import pytest

from composer.comparison.compare import Comparison, Row
from composer.comparison.dump import KEY, Dump, Stage, read_dump
from composer.comparison.gates import Measures, StageVerdict, Tolerance, compare, measure
from composer.comparison.report import as_json, junit, table
from composer.core.errors import ComposerError
from composer.formats.value_file import pack_values
from tests.comparison.tiny import random

FINE = StageVerdict((), Measures(1e-7, 1e-6, 0.0, 0.0))
WRONG = StageVerdict(("gain 0.1 is over 0.0001",), Measures(0.1, 0.2, 0.1, 0.0))
FOUND = Comparison(
    (
        Row("mel", "mel", FINE, FINE),
        Row("soft", "soft", WRONG, WRONG),
        Row("answer.text", "answer", StageVerdict(("'a', not 'b'",)), StageVerdict()),
    ),
    ("asked.text",),
)


def test_a_table_says_where_it_begins():
    assert table(FOUND).splitlines() == [
        "stage        own input  l2       peak     gain     angle    reference's input",
        "mel          same       1.0e-07  1.0e-06  0.0e+00  0.0e+00  same",
        "soft         DIFFERS    1.0e-01  2.0e-01  1.0e-01  0.0e+00  DIFFERS",
        "    gain 0.1 is over 0.0001",
        "    on the reference's input: gain 0.1 is over 0.0001",
        "answer.text  DIFFERS                                        same",
        "    'a', not 'b'",
        "skipped: asked.text",
        "differs: 2 of 3 stages; the first is soft, on the reference's own input",
    ]
    assert table(Comparison(FOUND.rows[:1])).splitlines()[-1] == "the same: 1 stages"


def test_json_and_junit_say_the_same():
    messages = as_json(FOUND)
    assert (messages["ok"], messages["first"], messages["skipped"]) == (
        False,
        "soft",
        ["asked.text"],
    )
    assert [each["ok"] for each in messages["stages"]] == [True, False, False]
    assert json.loads(json.dumps(messages)) == messages
    suite = ElementTree.fromstring(junit(FOUND, "composer diff tiny"))
    assert {k: suite.get(k) for k in ("tests", "failures", "skipped")} == {
        "tests": "4", "failures": "2", "skipped": "1"
    }  # fmt: skip
    assert suite.find("testcase[@name='soft']/failure").get("message") == "gain 0.1 is over 0.0001"


def test_what_xml_cannot_hold_is_left_out_of_junit():
    found = Comparison(
        (Row("a\x00", "a", StageVerdict(("\x1b[2J <&> \ud800 \ufffe é\U0001f600",))),), ("s\x0b",)
    )
    text = junit(found, "n\x08").encode("utf-8", "strict")
    failure = ElementTree.fromstring(text).find("testcase/failure")
    assert failure.text == "\ufffd[2J <&> \ufffd \ufffd é\U0001f600"


def test_nothing_compared_is_no_success():
    found = Comparison((), ("a",))
    assert not found.ok
    assert table(found).splitlines()[1:] == ["skipped: a", "differs: nothing was compared"]
    assert (as_json(found)["ok"], as_json(found)["first"]) == (False, None)


def test_measures_are_what_they_say():
    expected = random(0, 5, 4)
    have = expected * 2
    found = measure(have, expected)
    assert found.l2 == pytest.approx(1)
    assert found.gain == pytest.approx(1)
    assert found.angle == pytest.approx(0, abs=1e-12)
    rotated = expected.copy()
    rotated[2] = [-expected[2, 1], expected[2, 0], -expected[2, 3], expected[2, 2]]
    assert measure(rotated, expected).angle == pytest.approx(1)
    assert measure(rotated, expected).gain == pytest.approx(0, abs=1e-12)
    silent = expected.copy()
    silent[1] = 0
    loud = silent.copy()
    loud[1] = 1e-3
    assert measure(loud, silent).zero == pytest.approx(1e-3 / np.sqrt((silent**2).mean()))


@pytest.mark.parametrize("size", [1e-200, 1e-30, 1e30, 1e200])
def test_measures_hang_on_no_unit(size):
    expected = random(0, 5, 4).astype(np.float64)
    have = expected + 0.1 * random(1, 5, 4)
    plain, scaled = measure(have, expected), measure(have * size, expected * size)
    for name in ("l2", "peak", "gain", "angle"):
        assert getattr(scaled, name) == pytest.approx(getattr(plain, name), rel=1e-9)


def test_a_gain_beyond_floats_is_a_fault():
    expected = np.full((2, 3), 1e-200)
    assert not compare(expected * 1e300 * 1e90, expected).ok


def test_a_row_lies_along_the_named_axis():
    expected = random(0, 4, 6)
    have = expected.copy()
    have[:, 2] *= -1
    assert measure(have, expected, 0).angle == pytest.approx(2)
    assert measure(have, expected, 1).angle < 2


def test_a_reference_of_zeros_is_compared_absolutely():
    zeros = np.zeros((3, 4), np.float32)
    assert compare(zeros, zeros).ok
    assert not compare(zeros + 1, zeros).ok


@pytest.mark.parametrize("noise", [np.nan, -np.inf])
def test_what_is_no_tolerance_lets_nothing_pass(noise):
    one = np.ones((2, 3), np.float32)
    assert not compare(one * 1000, one, Tolerance.scaled(noise)).ok
    assert not compare(one * 1000, one, Tolerance(*[noise] * 5)).ok


def test_texts_and_arrays_are_not_the_same():
    some = np.ones((2, 3), np.float32)
    assert compare("a", some).faults == ("'a', not an array [2, 3]",)
    assert compare(some, "a").faults == ("an array [2, 3], not 'a'",)


def test_numbers_that_are_not_finite_are_counted_once():
    one = np.ones(4, np.float32)
    odd = np.array([1, np.nan, np.inf, 1], np.float32)
    for pair in ((one, odd), (odd, one), (odd, odd)):
        assert compare(*pair).faults == ("2 numbers are not finite",)


def test_integers_in_the_name_of_floats_are_a_fault():
    found = compare(np.ones(3, int), np.ones(3, np.float32), None, ("f32", "f32"))
    assert found.faults == ("kept as int64, not float32",)


def test_a_floor_of_no_noise_still_allows_rounding():
    assert Tolerance.of(Measures(0, 0, 0, 0)).l2 == 1e-6


def test_a_dump_comes_back_as_it_was(tmp_path):
    stages = {
        "frames": Stage(random(0, 6, 3), "f32", ("M", "F"), 0, Measures(1e-3, 1e-2, 1e-4, 0.0)),
        "line": Stage("hi", "text"),
        "ids": Stage(np.arange(3), "i64", ("T",)),
    }
    path = tmp_path / "dump.safetensors"
    path.write_bytes(Dump(stages, {"bundle": "tiny"}).pack())
    back = read_dump(path)
    assert back.about == {"bundle": "tiny"}
    assert list(back.stages) == list(stages)
    for name, stage in stages.items():
        found = back.stages[name]
        np.testing.assert_array_equal(found.value, stage.value)
        assert (found.dtype, found.axes, found.floor) == (stage.dtype, stage.axes, stage.floor)


def error_text(path):
    with pytest.raises(ComposerError) as caught:
        read_dump(path)
    return str(caught.value)


def test_what_is_no_dump_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(pack_values({"x": np.zeros(2)}, {}))
    assert error_text(path) == (
        f"{path}: R548 this file is not a dump\n    hint: write one with composer tap"
    )
    for text, why in (
        ('{"version": 2}', "its version is 2, but this version of composer reads 1"),
        ("{", "Expecting property name"),
        ('{"version": 1, "stages": {"y": {}}, "about": {}}', "no stage 'y'"),
        ('{"version": 1, "stages": {}, "about": {}}', "it describes no stage 'x'"),
        ("[" * 10**5, "maximum recursion depth"),
    ):
        path.write_bytes(pack_values({"x": np.zeros(2)}, {KEY: text}))
        assert f"R548 this dump cannot be read: {why}" in error_text(path)


TRUE = {"dtype": "f32", "axes": ["T", "D"], "along": 1, "floor": None}
NOISE = {"l2": 0.1, "peak": 0.1, "gain": 0.1, "angle": 0.1}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"along": 2}, "'x' has 2 axes, not T D with rows along 2"),
        ({"along": -3}, "'x' has 2 axes, not T D with rows along -3"),
        ({"along": "1"}, "'x': along Input should be a valid integer"),
        ({"along": float("inf")}, "'x': along Input should be a valid integer"),
        ({"axes": ["T"]}, "'x' has 2 axes, not T with rows along 1"),
        ({"axes": "TD"}, "'x': axes Input should be a valid list"),
        ({"axes": ["T", "\x1b[2J"]}, "'x' ['T', '\\x1b[2J'] are not names"),
        ({"dtype": "i64"}, "'x' is not 'i64'"),
        ({"dtype": "text"}, "'x' is not 'text'"),
        ({"dtype": "f99"}, "'x' is not 'f99'"),
        ({"floor": {**NOISE, "l2": float("nan")}}, "'x': floor l2 Input should be a finite number"),
        ({"floor": {**NOISE, "l2": "1"}}, "'x': floor l2 Input should be a valid number"),
        ({"floor": {**NOISE, "more": 1}}, "unexpected keyword argument 'more'"),
        ({"more": 1}, "'x': more Extra inputs are not permitted"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, change, why):
    path = tmp_path / "x.safetensors"
    for each, about, fits in ((TRUE, {}, True), (TRUE | change, {}, False), (TRUE, [], False)):
        text = json.dumps({"version": 1, "about": about, "stages": {"x": each}})
        path.write_bytes(pack_values({"x": np.ones((2, 3), np.float32)}, {KEY: text}))
        if fits:
            assert read_dump(path).stages["x"].along == 1
        else:
            shown = error_text(path)
            assert (why if about == {} else "or no description of them") in shown


def test_a_dump_has_stages(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(Dump({}).pack())
    assert "R548 this dump cannot be read: it has no stages" in error_text(path)

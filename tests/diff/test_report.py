import json
from xml.etree import ElementTree

import numpy as np
import pytest

from composer.diff.compare import Comparison, Row
from composer.diff.dump import Dump, Stage, read_dump
from composer.diff.gates import Measures, Tolerance, Verdict, compare, measure
from composer.diff.report import as_json, junit, table
from composer.errors import ComposerError
from tests.diff.tiny import random

FINE = Verdict((), Measures(1e-7, 1e-6, 0.0, 0.0))
WRONG = Verdict(("gain 0.1 is over 0.0001",), Measures(0.1, 0.2, 0.1, 0.0))
FOUND = Comparison(
    (
        Row("mel", "mel", FINE, FINE),
        Row("soft", "soft", WRONG, WRONG),
        Row("answer.text", "answer", Verdict(("'a', not 'b'",)), Verdict()),
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
    said = as_json(FOUND)
    assert (said["ok"], said["first"], said["skipped"]) == (False, "soft", ["asked.text"])
    assert [each["ok"] for each in said["stages"]] == [True, False, False]
    assert json.loads(json.dumps(said)) == said
    suite = ElementTree.fromstring(junit(FOUND, "composer diff tiny"))
    assert {k: suite.get(k) for k in ("tests", "failures", "skipped")} == {
        "tests": "4", "failures": "2", "skipped": "1"
    }  # fmt: skip
    assert suite.find("testcase[@name='soft']/failure").get("message") == "gain 0.1 is over 0.0001"


def test_measures_are_what_they_say():
    want = random(0, 5, 4)
    have = want * 2
    found = measure(have, want)
    assert found.l2 == pytest.approx(1)
    assert found.gain == pytest.approx(1)
    assert found.angle == pytest.approx(0, abs=1e-12)
    turned = want.copy()
    turned[2] = [-want[2, 1], want[2, 0], -want[2, 3], want[2, 2]]
    assert measure(turned, want).angle == pytest.approx(1)
    assert measure(turned, want).gain == pytest.approx(0, abs=1e-12)
    silent = want.copy()
    silent[1] = 0
    loud = silent.copy()
    loud[1] = 1e-3
    assert measure(loud, silent).zero == pytest.approx(1e-3 / np.sqrt((silent**2).mean()))


def test_a_row_lies_along_the_named_axis():
    want = random(0, 4, 6)
    have = want.copy()
    have[:, 2] *= -1
    assert measure(have, want, 0).angle == pytest.approx(2)
    assert measure(have, want, 1).angle < 2


def test_a_reference_of_zeros_is_held_absolutely():
    zeros = np.zeros((3, 4), np.float32)
    assert compare(zeros, zeros).ok
    assert not compare(zeros + 1, zeros).ok


def test_a_floor_of_no_noise_still_allows_rounding():
    assert Tolerance.of(Measures(0, 0, 0, 0)).l2 == 1e-6


def test_a_dump_comes_back_as_it_was(tmp_path):
    stages = {
        "frames": Stage(random(0, 6, 3), "f32", ("M", "F"), 0, Measures(1e-3, 1e-2, 1e-4, 0.0)),
        "said": Stage("hi", "text"),
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


def refused(path):
    with pytest.raises(ComposerError) as caught:
        read_dump(path)
    return str(caught.value)


def test_what_is_no_dump_is_refused(tmp_path):
    from composer.diff.dump import KEY
    from composer.tensors import pack_values

    path = tmp_path / "x.safetensors"
    path.write_bytes(pack_values({"x": np.zeros(2)}, {}))
    assert refused(path) == (
        f"{path}: R548 this file is no dump\n    hint: write one with composer tap"
    )
    for text, why in (
        ('{"version": 2}', "its version is 2, and this composer reads 1"),
        ("{", "Expecting property name"),
        ('{"version": 1, "stages": {"y": {}}, "about": {}}', "no stage 'y'"),
        ('{"version": 1, "stages": {}, "about": {}}', "it describes no stage 'x'"),
    ):
        path.write_bytes(pack_values({"x": np.zeros(2)}, {KEY: text}))
        assert f"R548 this dump cannot be read: {why}" in refused(path)

"""Values that a bundle is given and gives: dtypes, integers, masks, and numbers that are none."""

import numpy as np
import pytest

import composer
from tests.fakes import write
from tests.test_bundle import error_text

pytestmark = pytest.mark.usefixtures("fakes")


HALF = """\
composer: 1
name: half
components: {half: {use: fake.half}}
inputs: {PORT}
graph: {out: {run: half, with: {KEY: $x}}}
outputs: {out: $out}
"""


def half(tmp_path, key, port):
    text = HALF.replace("PORT", f"x: {port}").replace("KEY", key)
    return composer.load(write(tmp_path, text))


def test_bfloat16_is_given_and_fed_as_float32(tmp_path):
    with half(tmp_path, "x", "{type: tensor, port: bf16 N}") as bundle:
        given = bundle.run(x=np.array([1.5, 3.0], np.float32), taps="x")
        np.testing.assert_array_equal(given.outputs["out"], [0.75, 1.5])
        again = bundle.run(feed=given.taps)
        np.testing.assert_array_equal(again.outputs["out"], given.outputs["out"])


def test_only_numpy_stands_in_for_bfloat16(tmp_path):
    text = HALF.replace("PORT", "x: {type: tensor, port: bf16 N}").replace("KEY", "x")
    path = write(tmp_path, text.replace("fake.half", "fake.wide"))
    with composer.load(path) as bundle:
        assert error_text(bundle.run, x=np.array([1.5], np.float32)) == [
            f"{path}:5:9: R503 $out came out as f32 [1], but 'bf16 N' was declared\n"
            "    at node 'out' (half), given x f32 [1]"
        ]


SQUARED = """\
composer: 1
name: squared
components: {square: {use: fake.squared}}
inputs: {x: {type: tensor, port: f32 N}}
graph:
  once: {run: square, with: {x: $x}}
  twice: {run: square, with: {x: $once}}
outputs: {out: $twice, given: $x}
"""


def test_a_product_of_mlx_that_overflows_is_an_error_with_the_nodes_name(tmp_path):
    path = write(tmp_path, SQUARED)
    with composer.load(path) as bundle:
        assert bundle.run(x=np.array([2.0], np.float32)).outputs["out"] == 16
        assert error_text(bundle.run, x=np.array([1e15, 2.0], np.float32)) == [
            f"{path}:7:3: R536 $twice has 1 of 2 numbers that are NaN or infinite\n"
            "    none in its inputs\n"
            "    at node 'twice' (square), given x f32 [2]"
        ]
        assert error_text(bundle.run, x=np.array([np.nan], np.float32)) == [
            f"{path}:6:3: R536 $once has 1 of 1 numbers that are NaN or infinite\n"
            "    already in its inputs: $x\n"
            "    at node 'once' (square), given x f32 [1]"
        ]


def test_outputs_that_are_empty_or_not_finite_are_noted(tmp_path):
    with composer.load(write(tmp_path, SQUARED)) as bundle:
        assert bundle.run(x=np.ones(2, np.float32)).notes == ()
        empty = bundle.run(x=np.ones(0, np.float32))
        assert empty.notes == (
            "the output out is empty: f32 [0]",
            "the output given is empty: f32 [0]",
        )
        loud = bundle.run(x=np.array([np.inf], np.float32), feed={"once": np.ones(1, np.float32)})
        assert loud.notes == ("the output given has 1 numbers that are NaN or infinite, as given",)


def test_integers_must_fit(tmp_path):
    with half(tmp_path, "few", "{type: tensor, port: i8 N}") as bundle:
        np.testing.assert_array_equal(bundle.run(x=[4, 6]).outputs["out"], [2, 3])
        assert error_text(bundle.run, x=[300, 7]) == [
            "R542 'x' needs 'i8 N', which cannot hold 7 to 300"
        ]
        assert error_text(bundle.run, x=[[1, 2], [3]]) == [
            "R542 'x' needs 'i8 N', but its rows are of different lengths"
        ]
        assert bundle.run(x=[]).outputs["out"].shape == (0,)


def test_a_mask_is_true_and_false_or_one_and_zero(tmp_path):
    with half(tmp_path, "mask", "{type: mask, default: [true, false]}") as bundle:
        np.testing.assert_array_equal(bundle.run().outputs["out"], [0.5, 0])
        np.testing.assert_array_equal(bundle.run(x=[0, 1]).outputs["out"], [0, 0.5])
        assert error_text(bundle.run, x=[0, 2]) == ["R542 'x' needs 'bool T', not i64 [2]"]

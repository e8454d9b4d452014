"""Layouts, padding, chunks and masks give the numbers of the reference."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.components.onnx_graph.loading import CHUNKED, FIXED, close, load, ports
from tests.components.onnx_graphs import DIMS, MELS, constant, encode, encoder, mel, save, value


@pytest.mark.parametrize("layout", ["M F", "F M"])
@pytest.mark.parametrize("frames", [1, 2, 7, 10, 31])
def test_layouts_give_the_reference(at, layout, frames):
    path = encoder(at, layout=layout)
    config = {"inputs": {"input_features": {"layout": layout}}} if layout == "F M" else {}
    assert ports(path, **config)[0] == {"input_features": f"f32 {MELS} n_frames"}
    close(load(path, **config)(input_features=mel(frames)), encode(mel(frames)))


def test_vectors_with_frames_first_are_fed_as_they_are(at):
    path = encoder(at, layout="F M", mask="bool")
    config = {
        "inputs": {"input_features": {"layout": "F D", "pad": {"multiple_of": 8}}},
        "mask": {"input": "marks"},
        "rows": {"stride": 2},
    }
    assert ports(path, **config)[0] == {
        "input_features": f"f32 input_features_frames {MELS}",
        "valid": "bool input_features_frames",
    }
    close(load(path, **config)(input_features=mel(11).T), encode(mel(11)))


def test_half_floats_pass_through(at):
    found = load(encoder(at, dtype="f16"))(input_features=mel(9).astype(np.float16))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, encode(mel(9)), atol=2e-2)


def test_external_data_in_the_folder_is_read(at):
    path = encoder(at, external=True)
    assert (at.parent / "data.bin").exists()
    close(load(path)(input_features=mel(9)), encode(mel(9)))


@pytest.mark.parametrize("frames", [1, 4, 5, 6, 10, 29, 30])
@pytest.mark.parametrize("pad", [{"fixed": 30}, {"multiple_of": 5}, {"multiple_of": 10}])
def test_padded_chunks_keep_the_valid_rows(at, pad, frames):
    fixed = "fixed" in pad
    path = encoder(at, chunk=5, frames=30 if fixed else "n_frames", rows=18 if fixed else "n_rows")
    config = {"inputs": {"input_features": {"pad": pad}}, "rows": CHUNKED}
    inputs, outputs = ports(path, **config)
    assert inputs == {
        "input_features": f"f32 {MELS} input_features_frames",
        "valid": "bool input_features_frames",
    }
    assert outputs == {"out": f"f32 {'audio_embeds_rows' if fixed else 'n_rows'} {DIMS}"}
    x = mel(frames)
    whole = np.pad(x, ((0, 0), (0, -frames % 5)))
    found = load(path, **config)(input_features=x)
    assert len(found) == 3 * (frames // 5) + -(-(frames % 5) // 2)
    close(found, encode(whole, chunk=5)[: len(found)])


def test_all_rows_of_a_fixed_graph(at):
    path = encoder(at, chunk=5, frames=30, rows=18)
    config = {"inputs": FIXED, "rows": {**CHUNKED, "keep": "all"}}
    assert ports(path, **config)[1] == {"out": f"f32 18 {DIMS}"}
    whole = np.pad(mel(7), ((0, 0), (0, 23)))
    close(load(path, **config)(input_features=mel(7)), encode(whole, chunk=5))


@pytest.mark.parametrize("dtype", ["bool", "i64", "i32", "f32"])
@pytest.mark.parametrize("unit", ["frame", "row"])
@pytest.mark.parametrize("valid", [1, 0])
def test_masks_are_filled_from_the_true_length(at, dtype, unit, valid):
    path = encoder(at, frames=30, rows=15, mask=dtype, unit=unit, inverted=valid == 0)
    config = {
        "inputs": {"input_features": {"pad": {"fixed": 30}, "fill": 9.0}},
        "mask": {"input": "marks", "unit": unit, "valid": valid},
        "rows": {"stride": 2, "keep": "all"},
    }
    assert set(ports(path, **config)[0]) == {"input_features", "valid"}
    found = load(path, **config)(input_features=mel(7))
    filled = np.pad(mel(7), ((0, 0), (0, 23)), constant_values=0.0 if unit == "frame" else 9.0)
    expected = encode(filled)
    if unit == "row":
        expected[4:] = 0
    close(found, expected)


def test_a_mask_without_its_setting_is_a_port(at):
    path = encoder(at, mask="bool")
    assert ports(path)[0] == {
        "input_features": f"f32 {MELS} n_frames",
        "marks": "bool n_frames",
    }
    assert ports(encoder(at, mask="i64"))[0]["marks"] == "i64 n_frames | bool n_frames"
    counted = load(encoder(at, mask="i64"))(input_features=mel(8), marks=np.arange(8) < 5)
    close(counted, encode(mel(8) * (np.arange(8) < 5)))
    path = encoder(at, mask="bool")
    found = load(path)(input_features=mel(8), marks=np.arange(8) < 5)
    close(found, encode(mel(8) * (np.arange(8) < 5)))


def test_a_mask_without_an_axis_takes_the_count(at):
    path = save(
        at,
        [
            helper.make_node("Cast", ["length"], ["n"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["n", "axis"], ["m"]),
            helper.make_node("Div", ["x", "m"], ["y"]),
        ],
        [value("x", "f32", [1, "t"]), value("length", "i64", [1])],
        [value("y", "f32", [1, "t"])],
        [constant("axis", np.array([1]))],
    )
    config = {"inputs": {"x": {"pad": {"fixed": 6}, "fill": 12.0}}, "mask": {"input": "length"}}
    found = load(path, **config)(x=np.full(4, 2, np.float32))
    close(found, np.array([0.5, 0.5, 0.5, 0.5, 3, 3], np.float32))

"""Any ONNX encoder as a component: ports from the file, padding, masks, rows, and refusals."""

import os
import re
import subprocess
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx_graphs as graphs
import pytest
from onnx import TensorProto, helper
from onnx_graphs import DIMS, MELS, constant, encode, encoder, mel, save, value
from pydantic import ValidationError

from composer.components.onnx.graph import STALE, Graph
from composer.components.onnx.graph_config import Pad, Rows
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.core.signature import CALL
from composer.formats import Headers

CHUNKED = {"chunk": 5, "stride": 2}
FIXED = {"input_features": {"pad": {"fixed": 30}}}
TENS = {"input_features": {"pad": {"multiple_of": 10}}}


def spec_of(path: Path, config: dict) -> Spec:
    knobs = Graph.Config.model_validate(config)
    return Spec("encoder", knobs, weights=Location("repo", f"onnx/{path.name}", path.parents[1]))


def facts_of(path: Path, **config):
    return Graph.facts(spec_of(path, config), Headers())


def load(path: Path, placement: Placement | None = None, **config) -> Graph:
    spec = spec_of(path, config)
    placement = placement or Placement(threads=1)
    return Graph.load(spec, Graph.facts(spec, Headers()), placement)


def ports(path: Path, **config) -> tuple[dict, dict]:
    """Return inputs and outputs as text, numbers in their places."""
    facts = facts_of(path, **config)

    def text(port):
        words = [facts.dims[d].value if d in facts.dims else d for d in port.dims]
        return " ".join(map(str, [port.dtype, *words]))

    signature = facts.methods[CALL]
    inputs = {name: " | ".join(map(text, each)) for name, each in signature.inputs.items()}
    return inputs, {name: text(port) for name, port in signature.returns.items()}


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(ComposerError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


@pytest.fixture
def at(tmp_path):
    return tmp_path / "onnx" / "encoder.onnx"


def close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-6)


# Ports


def test_ports_come_from_the_file_without_the_batch(at):
    assert ports(encoder(at)) == (
        {"input_features": f"f32 {MELS} n_frames"},
        {"out": f"f32 n_rows {DIMS}"},
    )


def test_a_number_has_a_witness(at):
    bound = facts_of(encoder(at)).dims[f"d{DIMS}"]
    assert bound.value == DIMS
    assert bound.witness == "repo/onnx/encoder.onnx: output audio_embeds [1, n_rows, 4]"


def test_facts_weigh_and_type(at):
    facts = facts_of(encoder(at, dtype="f16"))
    assert facts.dtype == "f16"
    assert facts.nbytes == 2 * (DIMS * MELS * 3 + DIMS) + 16


def test_a_source_elsewhere_makes_ports_unknown(at):
    assert Graph.facts(spec_of(at, {}), None).unknown


def test_a_symbolic_batch_is_left_out(at):
    assert ports(encoder(at, batch="batch_size"))[1] == {"out": f"f32 n_rows {DIMS}"}


@pytest.mark.parametrize("first", ["N", None])
def test_a_doubtful_batch_is_asked_for(at, first):
    path = encoder(at, batch=first)
    shown = first or "?"
    hint = "    hint: say which tensors have one: batch: leading (all), inputs, or none"
    assert refusal(facts_of, path).splitlines() == [
        f"repo/onnx/encoder.onnx: W261 axis 0 of input input_features [{shown}, 3, n_frames] may "
        "be a batch or not",
        hint,
        f"repo/onnx/encoder.onnx: W261 axis 0 of output audio_embeds [{shown}, n_rows, 4] may be "
        "a batch or not",
        hint,
    ]
    assert ports(path, batch="leading")[0] == {"input_features": f"f32 {MELS} n_frames"}
    close(load(path, batch="leading")(input_features=mel(9)), encode(mel(9)))


def flattened(at: Path, dims) -> Path:
    """Write `x` [1, n, 2] -> `y`, whose axes are [1, n, 2], [n, 2] or [n, 1, 2] by `dims`."""
    shape = [-1 if isinstance(dim, str) else dim for dim in dims]
    return save(
        at,
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [value("x", "f32", [1, "n", 2])],
        [value("y", "f32", dims)],
        [constant("shape", np.array(shape))],
    )


def test_an_output_may_have_no_batch_though_inputs_do(at):
    path = flattened(at, ["rows", 2])
    assert "W261 axis 0 of output y [rows, 2] may be a batch or not" in refusal(facts_of, path)
    assert ports(path, batch="inputs") == ({"x": "f32 n 2"}, {"out": "f32 rows 2"})
    x = np.ones((3, 2), np.float32)
    close(load(path, batch="inputs")(x=x), x)


def test_a_batch_whose_name_the_exporter_lost_must_be_one_at_run(at):
    path = flattened(at, ["y_dim_0", 1, 2])
    assert ports(path) == ({"x": "f32 n 2"}, {"out": "f32 1 2"})
    close(load(path)(x=np.ones((1, 2), np.float32)), np.ones((1, 2), np.float32))
    assert refusal(load(path), x=np.ones((3, 2), np.float32)) == (
        "R535 repo/onnx/encoder.onnx: output y [y_dim_0, 1, 2] has 3 on axis 0, which is the "
        "batch\n"
        f"    fed x float32 [1, 3, 2]\n    hint: {STALE}"
    )


def test_no_batch_at_all(at):
    path = save(
        at,
        [helper.make_node("Relu", ["x"], ["y"])],
        [value("x", "f32", ["n", 2])],
        [value("y", "f32", ["n", 2])],
    )
    assert ports(path, batch="none") == ({"x": "f32 n 2"}, {"out": "f32 n 2"})
    x = np.array([[1, -2]], np.float32)
    close(load(path, batch="none")(x=x), np.maximum(x, 0))


def test_a_batch_of_several_is_refused(at):
    assert refusal(facts_of, encoder(at, batch=4), batch="leading").startswith(
        "repo/onnx/encoder.onnx: W261 axis 0 of input input_features [4, 3, n_frames] is 4, but a "
        "run is one utterance\n"
    )


def test_symbols_become_legal_and_stay_apart(at):
    path = save(
        at,
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["u"], ["v"])],
        [value("x", "f32", [1, "time/2", None]), value("u", "f32", [1, "time 2", "2d"])],
        [value("y", "f32", [1, "time/2", None]), value("v", "f32", [1, "time 2", "2d"])],
    )
    inputs, outputs = ports(path)
    assert inputs == {"x": "f32 time_2 _", "u": "f32 time_2_ n_2d"}
    assert outputs == {"out": "f32 time_2 _", "y": "f32 time_2 _", "v": "f32 time_2_ n_2d"}


def test_several_outputs_go_by_name_and_the_first_is_the_value(at):
    path = save(
        at,
        [helper.make_node("Relu", ["a.x"], ["y/0"]), helper.make_node("Neg", ["a.x"], ["lengths"])],
        [value("a.x", "f32", [1, "n"])],
        [value("y/0", "f32", [1, "n"]), value("lengths", "f32", [1, "n"])],
    )
    inputs, outputs = ports(path)
    assert inputs == {"a.x": "f32 n"}
    assert outputs == {"out": "f32 n", "y_0": "f32 n", "lengths": "f32 n"}
    x = np.array([1, -1], np.float32)
    answer = load(path)(**{"a.x": x})
    assert set(answer) == {"out", "y_0", "lengths"}
    close(answer["out"], np.maximum(x, 0))
    close(answer["lengths"], -x)


def test_an_output_that_is_called_out_is_the_value(at):
    path = save(
        at,
        [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["out"])],
        [value("x", "f32", [1, "n"])],
        [value("y", "f32", [1, "n"]), value("out", "f32", [1, "n"])],
    )
    answer = load(path)(x=np.array([1, -1], np.float32))
    close(answer["out"], np.array([-1, 1], np.float32))


def test_two_inputs_are_two_ports(at):
    path = save(
        at,
        [helper.make_node("Mul", ["x", "gain"], ["y"])],
        [value("x", "f32", [1, "n", 2]), value("gain", "f32", [])],
        [value("y", "f32", [1, "n", 2])],
    )
    assert ports(path)[0] == {"x": "f32 n 2", "gain": "f32"}
    x = np.ones((3, 2), np.float32)
    close(load(path)(x=x, gain=np.array(2, np.float32)), 2 * x)


@pytest.mark.parametrize("dtype", ["bf16"])
def test_what_numpy_cannot_carry_is_refused(at, dtype):
    path = save(
        at,
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", dtype, [1, "n"])],
        [value("y", "f32", [1, "n"])],
    )
    assert refusal(facts_of, path).splitlines()[0] == (
        "repo/onnx/encoder.onnx: W262 input x is bf16, which NumPy cannot carry"
    )


def test_an_unknown_rank_is_refused(at):
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node("Identity", ["x"], ["y"])
    path = save(at, [node], [value("x", "f32", [1, "n"])], [output])
    assert refusal(facts_of, path).splitlines() == [
        "repo/onnx/encoder.onnx: W262 output y declares no shape, so it cannot be wired",
        "    hint: export it with its axes, named where their length varies, or state them: "
        "outputs: {y: {shape: [...]}}",
    ]
    graph = load(path, outputs={"y": {"shape": [1, "rows"]}})
    assert graph(x=np.float32([4, 5])).tolist() == [4, 5]


@pytest.mark.parametrize("rows", ["n_frames", 7, "T"])
def test_a_stale_shape_is_replaced_by_the_one_that_the_author_states(at, rows):
    path = encoder(at, rows=rows)
    if rows != "T":
        assert "R535" in refusal(load(path), input_features=mel(8))
    stated = {"audio_embeds": {"shape": [1, "rows", DIMS]}}
    assert ports(path, outputs=stated)[1] == {"out": f"f32 rows {DIMS}"}
    np.testing.assert_allclose(
        load(path, outputs=stated)(input_features=mel(8)), encode(mel(8)), atol=1e-6
    )
    wrong = {"audio_embeds": {"shape": [1, "rows", DIMS + 1]}}
    assert refusal(load(path, outputs=wrong), input_features=mel(8)).startswith(
        f"R535 repo/onnx/encoder.onnx: output audio_embeds [1, rows, {DIMS + 1}] has {DIMS} on "
        "axis 2"
    )


def test_the_shape_of_an_output_that_the_file_lacks_is_refused(at):
    assert refusal(facts_of, encoder(at), outputs={"audio_embed": {"shape": [1]}}) == (
        "repo/onnx/encoder.onnx: W260 outputs.audio_embed: the file has no output 'audio_embed'\n"
        "    hint: did you mean 'audio_embeds'?; outputs: audio_embeds"
    )


# Runs


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
    assert ports(path, **config)[0] == {"input_features": f"f32 input_features_frames {MELS}"}
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
    assert inputs == {"input_features": f"f32 {MELS} input_features_frames"}
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
    assert set(ports(path, **config)[0]) == {"input_features"}
    found = load(path, **config)(input_features=mel(7))
    filled = np.pad(mel(7), ((0, 0), (0, 23)), constant_values=0.0 if unit == "frame" else 9.0)
    expected = encode(filled)
    if unit == "row":
        expected[4:] = 0
    close(found, expected)


def test_a_mask_without_its_knob_is_a_port(at):
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


# Counts: no frame and no row is lost or made up unsaid


def test_a_clip_longer_than_the_graph_is_refused_not_cut(at):
    graph = load(encoder(at, chunk=5, frames=30, rows=18), inputs=FIXED, rows=CHUNKED)
    assert len(graph(input_features=mel(30))) == 18
    assert refusal(graph, input_features=mel(31)) == (
        "R538 repo/onnx/encoder.onnx: input input_features [1, 3, 30] has 31 frames, but it is "
        "padded to 30\n"
        "    hint: cut the audio into shorter pieces before it is encoded; none is cut here"
    )


def test_a_clip_without_frames_is_refused(at):
    graph = load(encoder(at), rows={"stride": 2})
    assert refusal(graph, input_features=mel(0)) == (
        "R538 repo/onnx/encoder.onnx: input input_features [1, 3, n_frames] has no frames"
    )


@pytest.mark.parametrize("keep", ["valid", "all"])
def test_rows_that_contradict_the_formula_are_refused(at, keep):
    path = encoder(at, chunk=5, lost=1)
    graph = load(path, inputs=TENS, rows={**CHUNKED, "keep": keep})
    assert refusal(graph, input_features=mel(7)) == (
        "R537 repo/onnx/encoder.onnx: output audio_embeds [1, n_rows, 4] has 5 rows, but rows "
        "gives 6 for 10 frames\n"
        "    ceil(5/2)*(10//5) + ceil((10%5)/2) = 6\n"
        "    input_features has 7 frames, fed as 10\n"
        "    hint: correct rows.chunk and rows.stride in the component's config"
    )


def test_a_formula_off_by_one_is_refused_at_run(at):
    graph = load(encoder(at), rows={"stride": 2})
    assert len(graph(input_features=mel(9))) == 5
    wrong = load(at, rows={"stride": 3})
    assert "has 5 rows, but rows gives 3 for 9 frames\n    ceil(9/3) = 3\n" in refusal(
        wrong, input_features=mel(9)
    )


def test_fixed_lengths_that_contradict_the_formula_are_refused_at_check(at):
    path = encoder(at, chunk=5, frames=30, rows=17, lost=1)
    assert refusal(facts_of, path, inputs=FIXED, rows=CHUNKED) == (
        "repo/onnx/encoder.onnx: W266 rows gives 18 rows for 30 frames, but the file gives 17\n"
        "    18 is ceil(5/2)*(30//5) + ceil((30%5)/2) = 18\n"
        "    17 comes from repo/onnx/encoder.onnx: output audio_embeds [1, 17, 4]\n"
        "    hint: correct rows.chunk and rows.stride"
    )


def test_a_symbol_that_two_lengths_contradict_is_refused(at):
    graph = load(encoder(at, mask="bool"))
    assert refusal(graph, input_features=mel(8), marks=np.ones(7, bool)) == (
        "R539 repo/onnx/encoder.onnx: input marks [1, n_frames] has 7 on axis 1, but 'n_frames' "
        "is 8 on axis 2 of input input_features [1, 3, n_frames]\n"
        "    fed input_features float32 [1, 3, 8], marks bool [1, 7]"
    )


def test_an_output_that_breaks_its_declared_dims_is_refused(at):
    path = encoder(at, rows="n_frames")
    assert refusal(load(path), input_features=mel(8)) == (
        "R535 repo/onnx/encoder.onnx: output audio_embeds [1, n_frames, 4] has 4 on axis 1, but "
        "'n_frames' is 8 on axis 2 of input input_features [1, 3, n_frames]\n"
        f"    fed input_features float32 [1, 3, 8]\n    hint: {STALE}"
    )
    # where `rows` counts them, the file's slip does no harm
    assert ports(path, rows={"stride": 2})[1] == {"out": f"f32 audio_embeds_rows {DIMS}"}
    assert len(load(path, rows={"stride": 2})(input_features=mel(8))) == 4


def test_a_value_of_another_width_is_refused(at):
    assert refusal(load(encoder(at)), input_features=np.ones((5, 8), np.float32)) == (
        "R539 repo/onnx/encoder.onnx: input input_features [1, 3, n_frames] has 5 on axis 1\n"
        "    fed input_features float32 [1, 5, 8]"
    )


@pytest.mark.parametrize(("chunk", "frames", "rows"), [
    (100, 50, 7), (100, 61, 8), (100, 100, 13), (100, 101, 14), (100, 165, 22), (100, 337, 44),
    (100, 800, 104), (100, 920, 120), (100, 1750, 228), (100, 3000, 390), (100, 120000, 15600),
    (None, 1, 1), (None, 8, 1), (None, 9, 2),
])  # fmt: skip
def test_the_formula_of_qwen3_asr(chunk, frames, rows):
    assert Rows(chunk=chunk, stride=8).count(frames) == rows
    assert Rows(chunk=chunk, stride=8).formula(frames).endswith(f" = {rows}")


def test_padding_never_shortens():
    for frames in range(1, 50):
        length = Pad(multiple_of=8).length(frames)
        assert frames <= length < frames + 8
        assert length % 8 == 0


# The config against the file


@pytest.mark.parametrize(("config", "message"), [
    (
        {"inputs": {"input_feature": {"layout": "M F"}}},
        "W260 inputs.input_feature: the file has no input 'input_feature'\n"
        "    hint: did you mean 'input_features'?; inputs: input_features, marks",
    ),
    (
        {"mask": {"input": "mask"}},
        "W260 mask.input: the file has no input 'mask'\n"
        "    hint: did you mean 'marks'?; inputs: input_features, marks",
    ),
    (
        {"rows": {"stride": 2, "output": "zzz"}},
        "W260 rows.output: the file has no output 'zzz'\n    hint: outputs: audio_embeds",
    ),
    (
        {"rows": {"stride": 2}},
        "W267 rows does not say whose frames it counts\n"
        "    hint: write rows.of: one of input_features, marks",
    ),
    (
        {"mask": {"input": "marks", "of": "marks"}},
        "W267 mask.of is 'marks', which is the mask itself\n"
        "    hint: write mask.of: one of input_features",
    ),
    (
        {"mask": {"input": "marks"}, "inputs": {"marks": {"layout": "M F"}}},
        "W265 inputs.marks is the mask, which is filled and takes no knobs\n"
        "    hint: remove inputs.marks, or mask",
    ),
    (
        {"inputs": {"marks": {"layout": "F M"}}},
        "W263 inputs.marks wants layout 'F M', but the file has input marks [1, 30]\n"
        "    without the batch it has 1 axis",
    ),
    (
        {"inputs": {"input_features": {"pad": {"multiple_of": 10}}}},
        "W264 inputs.input_features.pad is {multiple_of: 10}, but the file takes 30 frames\n"
        "    30 comes from repo/onnx/encoder.onnx: input input_features [1, 3, 30]\n"
        "    hint: write pad: {fixed: 30}",
    ),
    (
        {"inputs": {"marks": {"pad": {"fixed": 30}, "fill": 0.5}}},
        "W264 inputs.marks.fill is 0.5, but the input is i64\n    hint: write a whole number",
    ),
    (
        {"mask": {"input": "marks", "unit": "row"}},
        "W265 mask.unit is 'row', but nothing says how many rows there are\n"
        "    hint: add rows: {stride: ...}",
    ),
    (
        {"mask": {"input": "marks", "unit": "row"}, "rows": {"stride": 2}},
        "W265 the mask has 30 marks, but 30 frames make 15 rows\n"
        "    30 comes from repo/onnx/encoder.onnx: input marks [1, 30]\n"
        "    hint: mask.unit is 'frame' or 'row'",
    ),
    (
        {"mask": {"input": "input_features", "of": "marks"}},
        "W265 mask.input cannot be filled: the file has input input_features [1, 3, 30] of f32\n"
        "    a mask has one axis of bool, i64, i32, f32, f16; a count has none, of i64 or i32",
    ),
])  # fmt: skip
def test_config_that_contradicts_the_file(at, config, message):
    path = encoder(at, frames=30, rows=15, mask="i64")
    assert refusal(facts_of, path, **config) == f"repo/onnx/encoder.onnx: {message}"


def test_all_misspelt_names_are_told_at_once(at):
    path = encoder(at)
    config = {"inputs": {"a": {}, "b": {}}, "mask": {"input": "c"}}
    assert refusal(facts_of, path, **config).count("W260") == 3


@pytest.mark.parametrize(("config", "why"), [
    ({"input": {}}, "Extra inputs are not permitted"),
    ({"inputs": {"x": {"pad": {}}}}, "give either multiple_of or fixed"),
    ({"inputs": {"x": {"pad": {"multiple_of": 2, "fixed": 4}}}}, "give either multiple_of"),
    ({"inputs": {"x": {"fill": 1.0}}}, "fill does nothing without pad"),
    ({"inputs": {"x": {"layout": "T M"}}}, "Input should be 'M F', 'F M' or 'F D'"),
    ({"rows": {"stride": 0}}, "greater than or equal to 1"),
    ({"rows": {"stride": "8"}}, "valid integer"),
    ({"time_limit": float("inf")}, "finite"),
])  # fmt: skip
def test_config_is_strict(config, why):
    with pytest.raises(ValidationError, match=why):
        Graph.Config.model_validate(config)


def test_every_knob_is_described():
    schema = Graph.Config.model_json_schema()
    fields = [*schema["properties"].values()]
    fields += [f for d in schema["$defs"].values() for f in d["properties"].values()]
    assert len(fields) == 21
    assert all(field["description"] for field in fields)


# The runtime


def test_an_unknown_provider_is_refused(at):
    for name in ("CUDExecutionProvider", "AzureExecutionProvider"):
        placement = Placement(providers=(name,))
        assert refusal(load, encoder(at), placement).startswith(
            f"R531 repo/onnx/encoder.onnx: the execution provider {name} is not available\n"
            "    hint: available here: "
        )
    assert "Azure" not in refusal(load, at, Placement(providers=("x",)))


def test_only_the_chosen_providers_are_used(at):
    assert load(encoder(at)).session.graph.session.get_providers() == ["CPUExecutionProvider"]


def test_a_file_that_changed_in_place_is_refused(at):
    spec = spec_of(encoder(at), {})
    facts = Graph.facts(spec, Headers())
    size = at.stat().st_size
    encoder(at, lost=1)
    assert refusal(Graph.load, spec, facts, Placement()) == (
        f"R530 repo/onnx/encoder.onnx: changed after it was checked\n"
        f"    it had {size} bytes, now {at.stat().st_size}\n"
        "    hint: load the bundle again"
    )


def test_external_data_that_changed_is_refused(at):
    spec = spec_of(encoder(at, external=True), {})
    facts = Graph.facts(spec, Headers())
    os.utime(at.parent / "data.bin", (1, 1))
    assert refusal(Graph.load, spec, facts, Placement()) == (
        "R530 repo/onnx/data.bin: changed after it was checked\n"
        "    it was written again\n"
        "    hint: load the bundle again"
    )


def test_a_link_out_of_the_source_in_place_of_the_file_is_refused(at, tmp_path_factory):
    spec = spec_of(encoder(at), {})
    facts = Graph.facts(spec, Headers())
    outside = tmp_path_factory.mktemp("outside") / "encoder.onnx"
    at.rename(outside)
    at.symlink_to(outside)
    assert "S400 is a link that leads out of" in refusal(Graph.load, spec, facts, Placement())


def test_an_input_may_have_the_name_of_a_parameter(at):
    nodes = [helper.make_node("Add", ["self", "function"], ["y"])]
    ends = [value(name, "f32", ["n"]) for name in ("self", "function", "y")]
    graph = load(save(at, nodes, ends[:2], ends[2:]), batch="none")
    one = np.ones(2, np.float32)
    close(graph(self=one, function=one), np.full(2, 2, np.float32))


@pytest.mark.parametrize("other", [
    {"frames": 30, "rows": 15},
    {"dtype": "f16"},
    {"mask": "bool"},
    {"layout": "F M"},
])  # fmt: skip
def test_other_tensors_under_the_same_stamp_are_refused(at, other):
    spec = spec_of(encoder(at, frames=20, rows=10), {})
    facts = Graph.facts(spec, Headers())
    encoder(at, **{"frames": 20, "rows": 10, **other})
    object.__setattr__(facts, "stamps", ())
    message = refusal(Graph.load, spec, facts, Placement())
    assert message.startswith("R530 repo/onnx/encoder.onnx: changed after it was checked\n")
    assert "    checked inputs: input_features f32 [1, 3, 20]\n    loaded inputs: " in message


def test_a_file_that_onnx_runtime_refuses(at):
    nodes = [helper.make_node("Relu", ["x"], ["y"], surplus=1)]
    path = save(at, nodes, [value("x", "f32", [1, "n"])], [value("y", "f32", [1, "n"])])
    message = refusal(load, path)
    assert message.startswith(
        "R532 repo/onnx/encoder.onnx: ONNX Runtime cannot load it: INVALID_GRAPH: "
    )
    assert "\n" not in message


def test_a_failing_node_is_told_in_one_line(at):
    path = save(
        at,
        [helper.make_node("Gather", ["x", "ids"], ["y"], axis=0)],
        [value("x", "f32", [3]), value("ids", "i64", [2])],
        [value("y", "f32", [2])],
    )
    message = refusal(load(path), x=np.ones(3, np.float32), ids=np.array([0, 9]))
    assert message.startswith(
        "R533 repo/onnx/encoder.onnx: ONNX Runtime failed: INVALID_ARGUMENT: "
    )
    assert message.splitlines()[1:] == ["    fed x float32 [3], ids int64 [2]"]


def test_a_graph_without_end_is_stopped(at):
    graph = load(graphs.loop(at, 2**62), time_limit=0.3)
    began = time.perf_counter()
    message = refusal(graph, x=np.ones(4, np.float32))
    assert time.perf_counter() - began < 10
    assert message == (
        "R534 repo/onnx/encoder.onnx: stopped after 0.3 s, the time limit\n"
        "    fed x float32 [4]\n"
        "    hint: if you trust it: --place time_limit=SECONDS"
    )
    close(load(graphs.loop(at, 3))(x=np.full(4, 2, np.float32)), np.full(4, 16, np.float32))


def test_numbers_that_are_not_finite_are_refused(at):
    graph = load(encoder(at, divisor=0.0))
    assert refusal(graph, input_features=mel(4)) == (
        "R536 repo/onnx/encoder.onnx: output audio_embeds [1, n_rows, 4] has 8 of 8 numbers that "
        "are NaN or infinite\n"
        "    none in its inputs\n"
        "    fed input_features float32 [1, 3, 4]"
    )
    x = mel(4)
    x[0, 3] = np.nan
    message = refusal(load(encoder(at)), input_features=x)
    assert "has 4 of 8 numbers" in message
    assert "\n    already in its inputs: input_features\n" in message


@pytest.mark.parametrize("wrong", [mel(4).astype(np.float64), mel(4)[None]])
def test_the_executor_owes_dtype_and_rank(at, wrong):
    graph = load(encoder(at))
    with pytest.raises(AssertionError):
        graph(input_features=wrong)


def test_every_code_has_a_page():
    root = Path(__file__).parents[2]
    sources = "".join(p.read_text() for p in (root / "components" / "onnx").glob("*.py"))
    codes = set(re.findall(r'"([WR]\d{3})"', sources))
    assert len(codes) == 20
    for code in codes:
        page = (root / "docs" / "errors" / f"{code}.md").read_text()
        assert page.startswith(f"# {code} ")


MEASURE = """
import sys
from pathlib import Path
import numpy, onnxruntime
from composer.core.component import Spec
from composer.components.onnx.graph import STALE, Graph
from composer.formats import Headers
from composer.core.location import Location
from composer.core.placement import Placement
junk = [numpy.ones(2_000_000) for _ in range(3)]
del junk  # as in any process, glibc has by now raised its thresholds

def peak():  # of this program alone: ru_maxrss would begin at the parent's
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0]) * 1024

before = peak()
spec = Spec("x", Graph.Config(), weights=Location("repo", "x.onnx", Path(sys.argv[1])))
facts = Graph.facts(spec, Headers())
graph = Graph.load(spec, facts, Placement(threads=1))
print((peak() - before) / facts.nbytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_load_peaks_little_above_the_weights(tmp_path):
    # blocks of 4 and 16 MB by turns: left to itself, glibc ends a third above the weights
    widths = [*[1024, 1024, 1024, 1024, 4096] * 6, 1024]
    sizes = list(pairwise(widths))
    random = np.random.default_rng(0)
    save(
        tmp_path / "x.onnx",
        [helper.make_node("MatMul", [f"v{i}", f"w{i}"], [f"v{i + 1}"]) for i in range(len(sizes))],
        [value("v0", "f32", [1, "n", 1024])],
        [value(f"v{len(sizes)}", "f32", [1, "n", 1024])],
        [
            constant(f"w{i}", random.standard_normal(size, np.float32))
            for i, size in enumerate(sizes)
        ],
    )
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert 0.8 < float(peak) < 1.15


def test_an_encoder_exported_by_torch(at):
    torch = pytest.importorskip("torch")

    class Stem(torch.nn.Module):
        """Chunks of 100 frames through three convolutions of stride 2, 13 rows each."""

        def __init__(self):
            super().__init__()
            self.convolutions = torch.nn.ModuleList(
                torch.nn.Conv2d(a, 4, 3, stride=2, padding=1) for a in (1, 4, 4)
            )
            self.out = torch.nn.Linear(4 * 2, 6)

        def forward(self, x, marks):
            x = (x * marks[:, None]).reshape(16, -1, 100).transpose(0, 1)[:, None]
            for convolution in self.convolutions:
                x = torch.nn.functional.gelu(convolution(x))
            x = x.permute(0, 3, 1, 2).reshape(1, -1, 4 * 2)
            return self.out(x)

    torch.manual_seed(0)
    stem = Stem().eval()
    at.parent.mkdir()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            stem,
            (torch.zeros(1, 16, 300), torch.ones(1, 300)),
            str(at),
            dynamo=False,
            opset_version=17,
            input_names=["input_features", "feature_attention_mask"],
            output_names=["audio_embeds"],
            dynamic_axes={
                "input_features": {2: "n_frames"},
                "feature_attention_mask": {1: "n_frames"},
                "audio_embeds": {1: "n_rows"},
            },
        )
    config = {
        "inputs": {"input_features": {"pad": {"multiple_of": 100}}},
        "mask": {"input": "feature_attention_mask"},
        "rows": {"chunk": 100, "stride": 8},
    }
    assert ports(at, **config) == (
        {"input_features": "f32 16 input_features_frames"},
        {"out": "f32 n_rows 6"},
    )
    graph = load(at, **config)
    for frames in (1, 61, 100, 101, 237, 400):
        x = np.random.default_rng(frames).standard_normal((16, frames)).astype(np.float32)
        padded = np.pad(x, ((0, 0), (0, -frames % 100)))
        with torch.no_grad():
            marks = torch.ones(1, padded.shape[1])
            expected = stem(torch.from_numpy(padded)[None], marks)[0].numpy()
        rows = 13 * (frames // 100) + -(-(frames % 100) // 8)
        np.testing.assert_allclose(graph(input_features=x), expected[:rows], atol=1e-5)

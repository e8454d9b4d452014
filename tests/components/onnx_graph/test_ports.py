"""Ports come from the file: names, ranks, dtypes, and the batch that is left out."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from composer.components.onnx.graph import STALE, OnnxGraph
from tests.components.onnx_graph.loading import close, facts_of, load, ports, refusal, spec_of
from tests.components.onnx_graphs import DIMS, MELS, constant, encode, encoder, mel, save, value


def test_ports_come_from_the_file_without_the_batch(at):
    assert ports(encoder(at)) == (
        {"input_features": f"f32 {MELS} n_frames"},
        {"out": f"f32 n_rows {DIMS}"},
    )


def test_a_number_has_a_witness(at):
    bound = facts_of(encoder(at)).dims[f"d{DIMS}"]
    assert bound.value == DIMS
    assert bound.witness == "repo/onnx/encoder.onnx: output audio_embeds [1, n_rows, 4]"


def test_facts_have_bytes_and_a_dtype(at):
    facts = facts_of(encoder(at, dtype="f16"))
    assert facts.dtype == "f16"
    assert facts.nbytes == 2 * (DIMS * MELS * 3 + DIMS) + 16


def test_a_source_elsewhere_makes_ports_unknown(at):
    assert OnnxGraph.facts(spec_of(at, {}), None).unknown


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


def test_symbols_become_legal_and_stay_distinct(at):
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

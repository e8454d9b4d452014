"""No frame and no row is lost or made up."""

import numpy as np
import pytest

from composer.components.onnx.graph import STALE
from composer.components.onnx.graph_config import FramePadding, RowCount
from tests.components.onnx_graph.loading import CHUNKED, FIXED, facts_of, load, ports, refusal
from tests.components.onnx_graphs import DIMS, encoder, mel

TENS = {"input_features": {"pad": {"multiple_of": 10}}}


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
    assert RowCount(chunk=chunk, stride=8).count(frames) == rows
    assert RowCount(chunk=chunk, stride=8).formula(frames).endswith(f" = {rows}")


def test_padding_never_shortens():
    for frames in range(1, 50):
        length = FramePadding(multiple_of=8).length(frames)
        assert frames <= length < frames + 8
        assert length % 8 == 0

"""Frames that come padded, as from audio.log_mel, are known by their mask."""

import re

import numpy as np
import pytest

import composer
from composer.components.audio.log_mel import LogMel
from composer.core.call_signature import CALL
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.formats.audio.waveform import Audio
from tests.components import onnx_graphs as graphs
from tests.components.onnx_graph.loading import CHUNKED, FIXED, close, facts_of, load, ports
from tests.components.onnx_graphs import DIMS, encode, encoder, mel

TENS = {"input_features": {"pad": {"multiple_of": 10}}}


def padded(true, frames):
    return np.pad(mel(true), ((0, 0), (0, frames - true))), np.arange(frames) < true


@pytest.mark.parametrize(
    "config", [{}, {"inputs": {"input_features": {"pad": {"multiple_of": 10}}}}]
)
@pytest.mark.parametrize("true", [1, 4, 7, 20, 25])
def test_valid_rows_are_those_of_the_frames_that_the_mask_marks(at, true, config):
    x, valid = padded(true, 25)
    graph = load(encoder(at, chunk=5), rows=CHUNKED, **config)
    rows = 3 * (true // 5) + -(-(true % 5) // 2)
    found = graph(input_features=x, valid=valid)
    close(found, encode(np.pad(mel(true), ((0, 0), (0, -true % 5))), chunk=5)[:rows])
    assert len(graph(input_features=x)) == 15  # without the mask, all count


@pytest.mark.parametrize("unit", ["frame", "row"])
def test_a_mask_of_the_file_is_filled_from_the_mask_of_the_features(at, unit):
    path = encoder(at, frames=30, rows=15, mask="bool", unit=unit)
    config = {"inputs": FIXED, "mask": {"input": "marks", "unit": unit}, "rows": {"stride": 2}}
    x, valid = padded(7, 20)
    x[:, 7:] = 5.0  # what a mask is for
    found = load(path, **config)(input_features=x, valid=valid)
    expected = encode(np.pad(mel(7), ((0, 0), (0, 23))) if unit == "frame" else x[:, :20])[:4]
    close(found, expected)


def test_where_no_padding_matters_there_is_no_port(at):
    encoder(at)
    assert set(ports(at)[0]) == {"input_features"}
    assert set(ports(at, rows={"stride": 2, "keep": "all"})[0]) == {"input_features"}
    assert facts_of(at).masks == {}
    facts = facts_of(at, rows={"stride": 2})
    assert facts.masks == {"input_features": "valid"}
    assert facts.methods[CALL].optional == {"valid"}


def test_two_inputs_have_a_mask_each_and_a_name_that_is_taken_is_another(at):
    def save(inputs, mask=()):
        nodes = [graphs.helper.make_node("Sum", inputs, ["rows"])]
        values = [graphs.value(each, "f32", [1, "n", 3]) for each in inputs]
        values += [graphs.value(each, "bool", [1, "n"]) for each in mask]
        rows = graphs.value("rows", "f32", [1, "n", 3])
        return graphs.save(at, nodes, values, [rows])

    layout = {name: {"layout": "F D"} for name in "ab"}
    config = {"rows": {"stride": 1, "of": "a"}, "mask": {"input": "m", "of": "b"}, "inputs": layout}
    assert facts_of(save(["a", "b"], ["m"]), **config).masks == {"a": "a_valid", "b": "b_valid"}
    assert facts_of(save(["valid"]), rows={"stride": 1}).masks == {"valid": "valid_"}


@pytest.mark.parametrize(
    ("valid", "found"),
    [
        ([True, False, True, True], "and the mask 4, of which 3 are true"),
        ([True, True, True], "and the mask 3, of which 3 are true"),
        ([False] * 4, "has no frames"),
    ],
)
def test_masks_that_cannot_be_are_refused(at, valid, found):
    graph = load(encoder(at), rows={"stride": 2})
    with pytest.raises(ComposerError) as caught:
        graph(input_features=mel(4), valid=np.array(valid))
    assert "R538" in str(caught.value)
    assert found in str(caught.value)


MANIFEST = """composer: 1
name: padded
sources: {repo: ./}
components:
  features: {use: audio.log_mel, config: {mels: 3, rate: 16000, pad: {seconds: 2}, n_fft: 400}}
  encoder:
    use: onnx.graph
    weights: repo/onnx/encoder.onnx
    config: {rows: {stride: 2KEEP}}
inputs: {audio: audio}
graph:
  mel:  {run: features, with: {audio: $audio}}
  soft: {run: encoder, with: {input_features: $melVALID}}
outputs: {soft: $soft}
"""


def write(at, keep="", valid=", valid: $mel.mask"):
    encoder(at)
    text = MANIFEST.replace("KEEP", keep).replace("VALID", valid)
    (at.parents[1] / "bundle.yaml").write_text(text)
    return at.parents[1]


def test_padding_that_would_count_is_an_error(at, monkeypatch):
    monkeypatch.chdir(write(at, valid=""))
    assert str(composer.check("bundle.yaml").problems[0]) == (
        "bundle.yaml:13:47: W280 encoder counts the padding of $mel as true frames\n"
        "    $mel.mask marks the frames of $mel that are no padding\n"
        "    hint: wire it: valid: $mel.mask"
    )
    for fine in ({}, {"keep": ", keep: all", "valid": ""}):
        write(at, **fine)
        assert composer.check("bundle.yaml").problems == ()
    text = (at.parents[1] / "bundle.yaml").read_text()
    (at.parents[1] / "bundle.yaml").write_text(text.replace(", pad: {seconds: 2}", ""))
    assert composer.check("bundle.yaml").problems == ()


@pytest.mark.parametrize("seconds", [0.5, 1.23, 2.0])
def test_rows_of_a_padded_clip_are_those_of_the_clip(at, seconds):
    samples = np.sin(np.arange(int(seconds * 16000)) / 20).astype(np.float32)
    with composer.load(write(at)) as bundle:
        soft = bundle.run(audio=(samples, 16000)).outputs["soft"]
    features = LogMel.load(Spec("f", LogMel.Config(mels=3, pad={"seconds": 2})), None, None)
    given = features(Audio(samples, 16000, "clip"))
    rows = -(-(len(samples) // 160) // 2)
    assert int(given["mask"].sum()) == len(samples) // 160
    close(soft, encode(given["out"])[:rows])
    with composer.load(write(at, ", keep: all", "")) as bundle:
        assert bundle.run(audio=(samples, 16000)).outputs["soft"].shape == (100, DIMS)


def test_the_page_shows_what_is_printed():
    page = composer.explain("W280")
    assert re.search(r"W280 encoder counts the padding of \$mel as true frames", page)

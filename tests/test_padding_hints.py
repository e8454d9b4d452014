"""An encoder that takes one length: a run that gives it another says which `pad` makes it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import composer
from composer.core.errors import ComposerError

MANIFEST = """\
composer: 1
name: padded
sources: {repo: ./}
components:
  features: {use: audio.log_mel, config: {mels: 80, rate: 16000PAD}}
  encoder: {use: onnx.graph, weights: repo/encoder.onnx}
inputs: {audio: audio}
graph:
  mel: {run: features, with: {audio: $audio}}
  rows: {run: encoder, with: {input_features: $mel}}
outputs: {rows: $rows}
"""
RATE = 16_000


@pytest.fixture
def padded(tmp_path):
    """Write the bundle of an encoder of a fixed length, with `pad` as given."""

    def write(pad, frames=3000):
        shape = [1, 80, frames]
        flow = helper.make_tensor_value_info
        ports = [flow(name, TensorProto.FLOAT, shape) for name in ("input_features", "rows")]
        node = helper.make_node("Identity", ["input_features"], ["rows"])
        graph = helper.make_graph([node], "encoder", ports[:1], ports[1:])
        opset = helper.make_opsetid("", 17)
        made = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        onnx.save(made, tmp_path / "encoder.onnx")
        path = tmp_path / "bundle.yaml"
        path.write_text(MANIFEST.replace("PAD", f", pad: {{{pad}}}" if pad else ""))
        return path

    return write


def clip(seconds):
    rng = np.random.default_rng(0)
    return rng.uniform(-0.5, 0.5, int(seconds * RATE)).astype(np.float32), RATE


def refused(path, seconds):
    with composer.load(path, trust=True) as bundle, pytest.raises(ComposerError) as caught:
        bundle.run(audio=clip(seconds))
    (problem,) = caught.value.problems
    assert (problem.code, str(problem.place)) == ("R501", f"{path}:9:3")
    return problem


LONGER = ", and cut longer clips: split: {seconds: ...} of the audio input"


@pytest.mark.parametrize(
    ("pad", "frames", "seconds", "hint"),
    [
        ("", 3000, 2, "pad it: config: {pad: {seconds: 30}} of features"),
        ("multiple_of: 100", 3000, 2, "pad it: config: {pad: {seconds: 30}} of features"),
        ("", 150, 1, "pad it: config: {pad: {multiple_of: 150}} of features"),
        ("", 100, 2, "pad it: config: {pad: {seconds: 1}} of features" + LONGER),
    ],
)
def test_the_pad_that_fits_is_named_with_its_value(padded, pad, frames, seconds, hint):
    path = padded(pad, frames)
    assert [problem.code for problem in composer.check(path).problems] == ["L335"]
    problem = refused(path, seconds)
    assert f"of $mel is {seconds * 100}, but {frames} was expected" in problem.message
    assert problem.hint == hint
    setting = hint.partition("pad: {")[2].partition("}")[0]
    with composer.load(padded(setting, frames), trust=True) as bundle:
        rows = bundle.run(audio=clip(min(seconds, frames / 100))).outputs["rows"]
    assert rows.shape[-1] == frames


def test_a_multiple_that_is_the_length_is_no_mistake(padded):
    path = padded("multiple_of: 150", 150)
    assert composer.check(path).problems == ()
    assert refused(path, 2).hint == "wire another value" + LONGER

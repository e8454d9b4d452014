"""Mistakes of authors who know the documentation alone: the place and the text of each error."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import composer
from composer.core.errors import ComposerError
from tests import replica

HERE = Path(__file__).parent
MANIFEST = (HERE / "manifests" / "voice.yaml").read_text()
TABLE = HERE / "authors_mistakes.txt"


def cases():
    """Read the table: a title, what is replaced, what replaces it, and the words."""
    for block in TABLE.read_text().split("=== ")[1:]:
        title, old, new, *messages = block.splitlines()
        old, new = (line[2:].replace("\\n", "\n") for line in (old, new))
        yield pytest.param(old, new, "\n".join(messages), id=title)


def graph(path, given, outputs):
    """Write an encoder with rows and their pool, whose work is not done here."""
    flow = helper.make_tensor_value_info
    inputs = [flow(name, TensorProto.FLOAT, dims) for name, dims in given.items()]
    gives = [flow(name, TensorProto.FLOAT, dims) for name, dims in outputs.items()]
    nodes = [helper.make_node("Identity", [next(iter(given))], [name]) for name in outputs]
    made = helper.make_graph(nodes, "encoder", inputs, gives)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(made, opset_imports=[opset], ir_version=8), path)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voice")
    rows = {"last_hidden_state": [1, 1500, 64], "pooler_output": [1, 64]}
    graph(folder / "encoder.onnx", {"input_features": [1, 80, 3000]}, rows)
    rows = {"last_hidden_state": [1, 16, 48], "pooler_output": [1, 48]}
    graph(folder / "seer.onnx", {"pixel_values": [1, 3, 28, 28]}, rows)
    replica.qwen3(folder / "decoder", width=256, layers=2)
    for name, first in (("projector", (512, 64)), ("viewer", (256, 48))):
        shapes = {"0.weight": ("F32", first), "2.weight": ("F32", (256, 256))}
        replica.safetensors(folder / name / "model.safetensors", shapes)
    return folder


def check(text, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bundle.yaml").write_text(text)
    report = composer.check("bundle.yaml", sources={"repo": source})
    return "\n".join(map(str, report.problems))


@pytest.mark.parametrize(("old", "new", "messages"), list(cases()))
def test_a_mistake(old, new, messages, source, tmp_path, monkeypatch):
    assert old in MANIFEST
    assert check(MANIFEST.replace(old, new, 1), source, tmp_path, monkeypatch) == messages


def test_there_are_more_than_twenty_two_of_them():
    assert len(list(cases())) > 22


def test_without_a_mistake_nothing_is_reported(source, tmp_path, monkeypatch):
    assert check(MANIFEST, source, tmp_path, monkeypatch) == ""


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int16])
def test_whole_numbers_are_not_taken_for_floats(dtype, tmp_path):
    graph(tmp_path / "seer.onnx", {"pixel_values": [1, 3, 2, 2]}, {"rows": [1, 3, 2, 2]})
    (tmp_path / "bundle.yaml").write_text(
        "composer: 1\nname: seer\nsources: {repo: ./}\n"
        "components: {seer: {use: onnx.graph, weights: repo/seer.onnx}}\n"
        "inputs: {pixels: {type: tensor, port: f32 3 2 2}}\n"
        "graph: {rows: {run: seer, with: {pixel_values: $pixels}}}\n"
        "outputs: {rows: $rows}\n"
    )
    pixels = np.arange(12).reshape(3, 2, 2).astype(dtype)
    with composer.load(tmp_path) as bundle:
        with pytest.raises(ComposerError) as caught:
            bundle.run(pixels=pixels)
        assert "R542 'pixels' needs 'f32 3 2 2', not " in str(caught.value)
        assert "hint: scale and normalize pixels first" in str(caught.value)
        for sound in (pixels.astype(np.float32), pixels.astype(np.float64), pixels.tolist()):
            np.testing.assert_array_equal(bundle.run(pixels=sound).outputs["rows"], pixels)

"""What a load leaves on the disk and asks of ONNX Runtime, and a bundle that runs on it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import composer
from composer.components.onnx import weights
from composer.components.onnx.lm import OnnxLanguageModel
from composer.components.onnx.proto import Model
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from tests.components.mlx_lm.models import (
    EOS,
    IDS,
    WIDTH,
    greedy,
)
from tests.components.onnx_lm.loading import load

pytestmark = pytest.mark.usefixtures("one_thread")

MINI = Path("bundles/mega-asr-mini")


def test_nothing_is_left_on_the_disk(folder, tmp_path, monkeypatch):
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    seen = []
    genuine = weights.WeightsFile.close
    monkeypatch.setattr(
        weights.WeightsFile,
        "close",
        lambda self: seen.extend(os.listdir(self.folder)) or genuine(self),
    )
    lm = load(folder)
    assert seen == ["weights.bin"]
    assert os.listdir(room) == []
    assert len(greedy(lm, lm.embed(IDS), 3)) == 3


def test_a_full_disk_is_reported(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(ComposerError) as caught:
        load(folder)
    assert str(caught.value) == (
        "R590 0.00 GB of weights could not be written down for ONNX Runtime: No such file or "
        "directory\n    hint: TMPDIR names the folder: point it at one with room on a disk"
    )


def test_only_the_cpu_is_offered(folder):
    with pytest.raises(ComposerError, match=r"R531 repo/lm: onnx.lm has no kernels for the exec"):
        load(folder, Placement(providers=("CUDAExecutionProvider",)))
    assert load(folder, Placement(providers=("CPUExecutionProvider",), threads=2)).stop == {EOS}


def test_what_onnx_runtime_refuses_is_reported(folder, monkeypatch):
    genuine = Model.serialized
    monkeypatch.setattr(Model, "serialized", lambda self: genuine(self)[:-20])
    with pytest.raises(ComposerError, match="R532 repo/lm: ONNX Runtime cannot load its graph"):
        load(folder)


def test_a_run_that_fails_is_reported(lm):
    with pytest.raises(ComposerError, match="R533 repo/qwen3: ONNX Runtime failed: "):
        lm.logits(np.zeros((2, WIDTH + 1), np.float32))


def test_the_model_is_what_onnx_says_a_model_is():
    import onnx

    made = Model("data")
    made.add_input("x", "float32", ["S", 2])
    made.add_output("y", "float32", ["S", 2])
    made.constant("shape", np.array([0, -1], np.int64))
    made.external("w", "float32", [300, 2], 4096, 2400)
    made.node("Reshape", ["w", "shape"], ["z"], allowzero=0)
    made.node("Identity", ["z"], ["unread"])
    made.external("unread", "uint8", [2, 2], 0, 4)
    made.node("QuickGelu", ["z"], ["y"], "com.microsoft", alpha=1.5, beta=-1)
    found = onnx.load_from_string(made.serialized())
    assert [tensor.name for tensor in found.graph.initializer] == ["shape", "w"]
    assert onnx.numpy_helper.to_array(found.graph.initializer[0]).tolist() == [0, -1]
    external = {entry.key: entry.value for entry in found.graph.initializer[1].external_data}
    assert external == {"location": "data", "offset": "4096", "length": "2400"}
    assert list(found.graph.initializer[1].dims) == [300, 2]
    gelu = {a.name: onnx.helper.get_attribute_value(a) for a in found.graph.node[1].attribute}
    assert gelu == {"alpha": 1.5, "beta": -1}
    assert found.graph.node[1].domain == "com.microsoft"
    assert [node.op_type for node in found.graph.node] == ["Reshape", "QuickGelu"]
    dims = found.graph.output[0].type.tensor_type.shape.dim
    assert [dims[0].dim_param, dims[1].dim_value] == ["S", 2]
    assert {opset.domain: opset.version for opset in found.opset_import} == {
        "": 21,
        "com.microsoft": 1,
    }


def test_the_miniature_says_the_same_on_onnx_runtime():
    lines = (MINI / "clips/references.jsonl").read_text().splitlines()
    clips = [MINI / "clips" / json.loads(line)["audio"] for line in lines]
    texts = {}
    for backend in ("mlx", "onnx"):
        with composer.load(MINI, backends={"decoder": backend}) as bundle:
            texts[backend] = [bundle.run(audio=clip).text for clip in clips]
    assert bundle.checked.components["decoder"].cls is OnnxLanguageModel
    assert texts["mlx"] == texts["onnx"]
    assert len(set(texts["mlx"])) > 3

"""A decoder of transformers and its exports, which take seconds to write."""

from types import SimpleNamespace

import pytest

from tests.components.mlx_lm.models import IDS, greedy_of_torch, torch_model
from tests.components.onnx_decoder.loading import load, write_folder
from tests.components.onnx_lm.loading import logits_of_torch
from tests.models.onnx_exports import export_decoder, pack_q4, rounded_to_q4


@pytest.fixture(scope="package")
def qwen3(tmp_path_factory):
    """Return a Qwen3 of weights that 4 bits mean exactly: its folder, logits and greedy ids."""
    model = torch_model(num_hidden_layers=2)
    codes = rounded_to_q4(model)
    folder = write_folder(model, tmp_path_factory.mktemp("decoder") / "qwen3")
    file = export_decoder(model, folder / "onnx/model.onnx")
    pack_q4(file, codes, folder / "onnx/model_q4.onnx")
    logits, ids = logits_of_torch(model), greedy_of_torch(model)
    return SimpleNamespace(
        model=model, codes=codes, folder=folder, file=file, logits=logits, ids=ids, prompt=IDS
    )


@pytest.fixture
def lm(qwen3):
    return load(qwen3.folder)

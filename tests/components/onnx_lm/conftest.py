"""Checkpoints that several tests read."""

import pytest

from tests.components.mlx_lm.models import SCHEMES, quantized, save, torch_model
from tests.components.onnx_lm.loading import load


@pytest.fixture(scope="module")
def qwen3(home):
    model = torch_model()
    folder = save(model, home / "qwen3")
    return model, load(folder), folder


@pytest.fixture
def lm(qwen3):
    qwen3[1].writer.prefix_cache.stored = None
    return qwen3[1]


@pytest.fixture
def folder(tmp_path):
    return save(torch_model(num_hidden_layers=2), tmp_path / "lm")


@pytest.fixture(scope="module")
def mixed(home):
    return quantized(torch_model(), home / "mixed", *SCHEMES["mixed 8-4"])

"""Checkpoints that several tests read."""

import pytest

from tests.components.mlx_lm.models import greedy_of_torch, load, save, torch_model


@pytest.fixture(scope="module")
def expected(qwen3):
    return greedy_of_torch(qwen3[0])


@pytest.fixture(scope="module")
def qwen3(home):
    model = torch_model()
    folder = save(model, home / "qwen3")
    return model, load(folder), folder


@pytest.fixture
def folder(tmp_path):
    return save(torch_model(num_hidden_layers=2), tmp_path / "lm")

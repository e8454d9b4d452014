"""A folder for a graph."""

import pytest


@pytest.fixture
def at(tmp_path):
    return tmp_path / "onnx" / "encoder.onnx"

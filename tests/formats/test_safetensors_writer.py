"""Safetensors files that are written in pieces."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from composer.formats.safetensors_writer import NewTensor, SafetensorsWriter

TENSORS = (NewTensor("b", "u8", (3,)), NewTensor("a", "f32", (2, 2)), NewTensor("c", "f16", (1, 3)))
VALUES = {
    "a": np.arange(4, dtype=np.float32).reshape(2, 2),
    "b": np.array([1, 2, 3], np.uint8),
    "c": np.array([[1, 2, 3]], np.float16),
}


def test_pieces_in_any_order_are_a_file(tmp_path):
    with SafetensorsWriter(tmp_path / "x.safetensors", TENSORS, {"format": "mlx"}) as writer:
        for first in (True, False):
            for name, value in VALUES.items():
                data = value.tobytes()
                half = len(data) // 2
                writer.write(name, data[:half] if first else data[half:])
    found = load_file(tmp_path / "x.safetensors")
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in VALUES.items()
    }
    assert all(found[name].dtype == value.dtype for name, value in VALUES.items())


def test_too_much_too_little_and_a_file_that_is_there(tmp_path):
    path = tmp_path / "x.safetensors"
    with (
        pytest.raises(ValueError, match="b has more bytes than its shape"),
        SafetensorsWriter(path, TENSORS, {}) as writer,
    ):
        writer.write("b", b"1234")
    with pytest.raises(FileExistsError), SafetensorsWriter(path, TENSORS, {}):
        pass
    path.unlink()
    with (
        pytest.raises(ValueError, match="a has fewer bytes than its shape"),
        SafetensorsWriter(path, TENSORS, {}) as writer,
    ):
        writer.write("b", b"123")

"""What the core does with numbers by itself."""

import numpy as np
import pytest
import torch

from composer.core import registry
from composer.core.backend import widen
from composer.formats.quantization import Scheme


def test_every_bfloat16_is_widened_as_torch_does():
    bits = np.arange(2**16, dtype=np.uint16)
    expected = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    found = widen(bits, "bf16")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))
    assert not np.array_equal(found, bits.view(np.float16).astype(np.float32), equal_nan=True)


def test_float16_is_widened_exactly():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    expected = torch.from_numpy(every.copy()).float().numpy()
    np.testing.assert_array_equal(widen(every, "f16"), expected)


def test_how_many_codes_a_row_has():
    assert [Scheme(bits, 64, "affine").unpacked(24) for bits in (2, 3, 4, 6, 8)] == [
        384, 256, 192, 128, 96,
    ]  # fmt: skip


@pytest.mark.parametrize("name", registry.backend_names())
@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_a_backend_finds_zeros_in_its_own_arrays(name, dtype):
    backend = registry.backend(name)
    for numbers, expected in [
        ([0, 0, 0], True),
        ([0, -0.0, 0], True),
        ([0, 0, 1e-7], False),
        ([0, np.nan, 0], False),
        ([np.inf, 0, 0], False),
    ]:
        value = backend.from_numpy(np.array(numbers, np.float32), dtype)
        assert backend.is_all_zero(value) is expected, numbers

import subprocess
import sys
from threading import Thread

import mlx.core as mx
import numpy as np
import pytest

from composer.components.mlx import operators, thread
from composer.components.mlx.backend import MlxBackend
from composer.components.operators.fill import fill
from composer.components.operators.scatter import scatter
from composer.core import registry
from composer.core.backend import LONG

BACKEND = MlxBackend()
AT = np.array([False, True, False, True])


def test_it_is_registered():
    backend = registry.backend("mlx")
    assert isinstance(backend, MlxBackend)
    assert backend.threaded


def test_an_array_knows_its_backend():
    assert registry.backend_of(mx.zeros(2)).name == "mlx"
    assert registry.backend_of(np.zeros(2)).name == "numpy"
    assert registry.backend_of(np.zeros(2).view(np.recarray)).name == "numpy"
    with pytest.raises(TypeError, match="list is no array of any backend here"):
        registry.backend_of([0.0])


@pytest.mark.parametrize("dtype", LONG)
def test_every_dtype_has_its_short_name(dtype):
    value = BACKEND.from_numpy(np.array([0, 1, 1]), dtype)
    assert BACKEND.dtype(value) == dtype
    assert BACKEND.shape(value) == (3,)
    assert BACKEND.dtype(BACKEND.cast(value, "f32")) == "f32"
    back = BACKEND.to_numpy(value)
    assert back.tolist() == [0, 1, 1]
    assert back.dtype == (np.float32 if dtype == "bf16" else np.dtype(LONG[dtype]))


def test_bfloat16_crosses_exactly():
    numbers = np.float32([1.0, -2.5, 3.0e38, 1e-30, 0.1])
    crossed = BACKEND.to_numpy(BACKEND.from_numpy(numbers, "bf16"))
    bits = numbers.view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32)
    assert crossed.dtype == np.float32
    np.testing.assert_array_equal(crossed, rounded)


def test_what_crosses_is_a_copy():
    numbers = np.zeros(3, np.float32)
    value = BACKEND.from_numpy(numbers, "f32")
    numbers[:] = 1
    assert value.tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_scatter_is_that_of_numpy(dtype):
    base = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float16)
    values = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float16)
    given = BACKEND.from_numpy(base, dtype)
    kept = np.array(BACKEND.to_numpy(given))
    out = operators.scatter(given, AT, BACKEND.from_numpy(values, dtype))
    assert BACKEND.dtype(out) == dtype
    expected = scatter.function(kept, AT, BACKEND.to_numpy(BACKEND.from_numpy(values, dtype)))
    np.testing.assert_array_equal(BACKEND.to_numpy(out), expected)
    np.testing.assert_array_equal(BACKEND.to_numpy(given), kept)


def test_scatter_of_nothing_changes_nothing():
    base = mx.ones((4, 3))
    out = operators.scatter(base, np.zeros(4, bool), mx.zeros((0, 3)))
    assert mx.array_equal(out, base)


def test_fill_is_that_of_numpy():
    ids = mx.array([5, 6, 7, 8])
    out = operators.fill(ids, AT, value=-1)
    assert BACKEND.dtype(out) == BACKEND.dtype(ids)
    assert out.tolist() == fill.function(np.array(ids), AT, value=-1).tolist() == [5, -1, 7, -1]


@pytest.mark.parametrize(
    "values",
    [mx.zeros((3, 3)), mx.zeros((1, 3)), mx.zeros((2, 4)), mx.zeros((2, 3), mx.float16)],
    ids=["too many", "too few", "too wide", "another dtype"],
)
def test_scatter_is_strict(values):
    with pytest.raises(ValueError, match=r"scatter into 2 marked rows of f32 \[4, 3\] needs"):
        operators.scatter(mx.ones((4, 3)), AT, values)


@pytest.mark.parametrize("at", [AT.astype(np.int64), AT[:3], AT[None]])
def test_marks_are_bool_and_as_long(at):
    with pytest.raises(ValueError, match=r"'at' must be bool \[4\], not"):
        operators.scatter(mx.ones((4, 3)), at, mx.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"'at' must be bool \[4\], not"):
        operators.fill(mx.zeros(4, mx.int64), at, value=0)


LEAVE = """
from concurrent.futures import ThreadPoolExecutor
import mlx.core as mx
from composer.components.mlx.device import device_of
from composer.core.placement import Placement

def work():
    device_of(Placement())
    device_of(Placement())
    x = mx.random.normal((512, 512))
    for _ in range(3):
        x = mx.tanh(x @ x)
        mx.async_eval(x)
    return x

with ThreadPoolExecutor(1) as pool:
    kept = pool.submit(work).result()
"""


def test_a_process_whose_thread_used_mlx_ends_well():
    """Without `thread.enter` about one in two of these aborts."""
    runs = [
        subprocess.Popen([sys.executable, "-c", LEAVE], stderr=subprocess.PIPE) for _ in range(4)
    ]
    assert [(run.communicate()[1], run.returncode) for run in runs] == [(b"", 0)] * 4


def test_a_thread_is_registered_once():
    """A second registration would clear the streams of the first while they are in use."""
    found = []

    def use():
        for _ in range(3):
            thread.register_thread()
            found.append(id(thread._local.cleanup))  # the object itself must end with its thread

    worker = Thread(target=use)
    worker.start()
    worker.join()
    assert found[0] == found[1] == found[2]

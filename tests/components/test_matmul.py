"""Products by NumPy's BLAS against MLX's own, and against torch."""

import mlx.core as mx
import numpy as np
import pytest
import torch

from composer.components.mlx import matmul

DTYPES = ("float32", "float16", "bfloat16")


@pytest.fixture(autouse=True)
def on_the_cpu():
    with mx.stream(mx.cpu):
        yield


@pytest.fixture(params=[True, False], ids=["numpy", "mlx"])
def way(request, monkeypatch):
    """Take NumPy's products, then MLX's, whatever the platform."""
    monkeypatch.setattr(matmul, "multiplies_with_numpy", lambda: request.param)


def draw(*shape, dtype="float32"):
    made = np.random.default_rng(len(shape)).normal(0, 1, shape).astype(np.float32)
    return mx.array(made).astype(getattr(mx, dtype))


def theirs(x):
    return torch.from_numpy(np.array(x.astype(mx.float32)))


def close(found, expected, tolerance=1e-5):
    assert found.dtype == mx.float32
    np.testing.assert_allclose(np.array(found), expected.numpy(), atol=tolerance, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shapes", [((7, 5), (5, 3)), ((2, 7, 5), (2, 5, 3)), ((4, 2, 1, 5),) * 2])
def test_products(way, dtype, shapes):
    a, b = (draw(*shape, dtype=dtype) for shape in shapes)
    b = b if len(shapes[1]) < 4 else b.transpose(0, 1, 3, 2)
    close(matmul.product(a, b), theirs(a) @ theirs(b))


def test_strided_views_are_what_they_show(way):
    a, b = draw(6, 8), draw(3, 8)
    close(matmul.product(a[::2, 1::2], b[:, 1::2].T), theirs(a)[::2, 1::2] @ theirs(b)[:, 1::2].T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 1), (2, 0)])
def test_convolutions(way, dtype, stride, padding):
    functional = torch.nn.functional
    x, weight = draw(2, 20, 6, dtype=dtype), draw(4, 3, 6, dtype=dtype)
    found = matmul.convolve(x, weight, stride=stride, padding=padding)
    rows = theirs(x).movedim(-1, 1)
    expected = functional.conv1d(rows, theirs(weight).movedim(-1, 1), None, stride, padding)
    close(found, expected.movedim(1, -1))
    x, weight = draw(2, 11, 8, 3, dtype=dtype), draw(4, 3, 3, 3, dtype=dtype)
    found = matmul.convolve(x, weight, stride=stride, padding=padding)
    images = theirs(x).movedim(-1, 1)
    expected = functional.conv2d(images, theirs(weight).movedim(-1, 1), None, stride, padding)
    close(found, expected.movedim(1, -1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_attention(way, dtype):
    q, k, v = (draw(3, 9, 4, dtype=dtype) * scale for scale in (1, 2, 3))
    expected = torch.softmax(0.5 * theirs(q) @ theirs(k).mT, -1) @ theirs(v)
    close(matmul.attention(q, k, v, 0.5), expected)
    own = mx.fast.scaled_dot_product_attention(q[None], k[None], v[None], scale=0.5)[0]
    close(
        own.astype(mx.float32),
        expected,
        {"float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-1}[dtype],
    )


def test_attention_to_large_logits_stays_finite():
    q = mx.full((1, 4, 8), 1e4)
    found = np.array(matmul.attention(q, q, draw(1, 4, 8), 1.0))
    assert np.isfinite(found).all()


def test_numpy_multiplies_where_mlx_has_no_blas(monkeypatch):
    monkeypatch.setattr(matmul.sys, "platform", "linux")
    assert matmul.multiplies_with_numpy()
    monkeypatch.setattr(matmul.sys, "platform", "darwin")
    assert not matmul.multiplies_with_numpy()


def test_arrays_of_float32_are_not_copied():
    x = draw(4, 4)
    one, other = (np.asarray(matmul.to_float32_on_cpu(x)[0]) for _ in range(2))
    assert np.shares_memory(one, other)

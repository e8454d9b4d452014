"""GPTQ's codes, against the algorithm in torch, against rounding, and on a matrix by hand."""

import mlx.core as mx
import numpy as np
import pytest
import torch

from composer.components.mlx import packer
from composer.core.calibration import LearntScales, expert_path
from composer.formats.affine_packing import pack, stored
from composer.formats.packing import ModuleToPack
from composer.formats.quantization import Scheme
from composer.quantization.dwq import pack_with_learnt_scales
from composer.quantization.gptq import DAMPING, Gptq, inverse_factor, quantize
from composer.quantization.hessians import Hessians

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def correlated(rows=400, columns=128, seed=0):
    """Return inputs of which each column is much like others."""
    draw = np.random.default_rng(seed)
    mixed = draw.normal(size=(rows, 16)) @ draw.normal(size=(16, columns))
    return (mixed + 0.3 * draw.normal(size=(rows, columns))).astype(np.float32)


def weights(dtype="f32", rows=24, columns=128):
    made = np.random.default_rng(1).normal(0, 0.2, (rows, columns)).astype(np.float32)
    return torch.from_numpy(made).to(DTYPES[dtype]).float().numpy()


def reference(matrix, hessian, scheme, dtype):
    """Quantize as the paper has it: the inverse is updated column by column, without Cholesky."""
    w = torch.from_numpy(matrix).double()
    h = torch.from_numpy(hessian).double()
    inverse = torch.linalg.inv(h + DAMPING * h.diagonal().mean() * torch.eye(len(h)))
    codes, scales, biases = torch.zeros(w.shape, dtype=torch.uint8), [], []
    for column in range(w.shape[1]):
        if column % scheme.group_size == 0:
            group = w[:, column : column + scheme.group_size].float().numpy()
            made = mx.quantize(mx.array(group), group_size=scheme.group_size, bits=scheme.bits)
            scale, bias = (torch.from_numpy(np.array(each))[:, 0] for each in made[1:])
            scales.append(scale.to(DTYPES[dtype]).double())
            biases.append(bias.to(DTYPES[dtype]).double())
        code = (
            ((w[:, column] - bias.double()) / scale.double()).round().clamp(0, 2**scheme.bits - 1)
        )
        codes[:, column] = code
        error = w[:, column] - (code * scales[-1] + biases[-1])
        later = slice(column + 1, None)
        w[:, later] -= torch.outer(error / inverse[column, column], inverse[column, later])
        inverse -= torch.outer(inverse[:, column], inverse[column]) / inverse[column, column]
    return codes.numpy(), torch.stack(scales, 1).numpy(), torch.stack(biases, 1).numpy()


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
@pytest.mark.parametrize(("bits", "size"), [(2, 32), (3, 64), (4, 64), (5, 32), (8, 128)])
def test_codes_are_those_of_the_paper(bits, size, dtype):
    matrix, x = weights(dtype), correlated()
    scheme = Scheme(bits, size, "affine")
    hessian = x.T @ x
    codes, scales, biases = quantize(matrix, inverse_factor(hessian), scheme, dtype)
    wanted = reference(matrix, hessian, scheme, dtype)
    # Float32 and float64 may fall on two sides of a half, after which the rest of a row differs.
    same = (codes == wanted[0]).all(axis=1)
    print("SAME", bits, size, dtype, same.mean())
    assert same.mean() > 0.9
    np.testing.assert_allclose(scales[same], wanted[1][same], rtol=1e-5)
    np.testing.assert_allclose(biases[same], wanted[2][same], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("bits", "size"), [(2, 32), (4, 64), (6, 32)])
def test_the_error_at_the_output_is_below_that_of_rounding(bits, size):
    matrix, x = weights(), correlated()
    scheme = Scheme(bits, size, "affine")
    found = dequantized(packed(matrix, x, scheme), scheme)
    nearest = dequantized(pack(matrix.tobytes(), "f32", 128, scheme), scheme)
    unseen = correlated(seed=0)[:50] + 0.1 * correlated(50, seed=5)
    for inputs in (x, unseen):
        ours, theirs = (np.square(inputs @ (w - matrix).T).sum() for w in (found, nearest))
        assert ours < 0.6 * theirs
    assert np.square(found - matrix).sum() > np.square(nearest - matrix).sum()


def dequantized(parts, scheme, rows=24):
    """Return what MLX reads from packed float32 rows."""
    kinds = (np.uint32, np.float32, np.float32)
    arrays = [
        mx.array(np.frombuffer(part, kind).reshape(rows, -1))
        for part, kind in zip(parts, kinds, strict=True)
    ]
    return np.array(mx.dequantize(*arrays, group_size=scheme.group_size, bits=scheme.bits))


def packed(matrix, x, scheme, dtype="f32", piece=None):
    """Pack a matrix by what it sees, in pieces of so many rows."""
    gptq = Gptq(Hessians(lambda layers: layers["m"](x), {"m": x.shape[1]}))
    module = ModuleToPack("lm.m", "lm.m", "lm.m.weight", scheme, path="m")
    one = gptq.pack(module, matrix.shape, packer.pack_rows)
    parts = []
    for start in range(0, len(matrix), piece or len(matrix)):
        rows = stored(matrix[start : start + (piece or len(matrix))], dtype)
        parts.append(one(rows.tobytes(), dtype, x.shape[1], scheme))
    return tuple(b"".join(each) for each in zip(*parts, strict=True))


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_inputs_without_correlation_give_the_nearest_bit_for_bit(bits, dtype):
    matrix, scheme = weights(dtype), Scheme(bits, 64, "affine")
    x = np.eye(128, dtype=np.float32)
    nearest = packer.pack_rows(stored(matrix, dtype).tobytes(), dtype, 128, scheme)
    assert packed(matrix, x, scheme, dtype) == nearest
    assert packed(matrix, correlated(), scheme, dtype) != nearest


def test_what_saw_nothing_is_rounded_to_the_nearest():
    matrix, scheme = weights(), Scheme(4, 64, "affine")
    nothing = np.zeros((0, 128), np.float32)
    assert packed(matrix, nothing, scheme) == pack(matrix.tobytes(), "f32", 128, scheme)
    zeros = np.zeros((5, 128), np.float32)  # the silence of a layer before this one
    assert packed(matrix, zeros, scheme) == pack(matrix.tobytes(), "f32", 128, scheme)


def test_pieces_of_rows_give_what_the_whole_gives():
    matrix, x, scheme = weights(), correlated(), Scheme(4, 64, "affine")
    whole = dequantized(packed(matrix, x, scheme), scheme)
    np.testing.assert_allclose(
        dequantized(packed(matrix, x, scheme, piece=7), scheme), whole, atol=1e-6
    )


def test_a_column_that_never_varies_from_zero_does_not_stop_it():
    matrix, x = weights(), correlated()
    x[:, 5:9] = 0
    found = dequantized(packed(matrix, x, Scheme(4, 64, "affine")), Scheme(4, 64, "affine"))
    assert np.isfinite(found).all()


def test_sums_are_collected_a_few_at_a_time():
    inputs = {name: correlated(seed=seed)[:, :64] for seed, name in enumerate("abcd")}
    runs = []

    def run(layers):
        runs.append("".join(layers))
        for name, see in layers.items():
            see(inputs[name][:100])
            see(inputs[name][100:])

    hessians = Hessians(run, dict.fromkeys("abcd", 64), room=2 * 4 * 64 * 64)
    for name in "abcd":
        wanted = inputs[name].T.astype(np.float64) @ inputs[name]
        np.testing.assert_allclose(hessians.take(name), wanted, rtol=1e-4, atol=1e-2)
    assert runs == ["ab", "cd"]
    assert (hessians.kept, hessians.rows["c"]) == ({}, 400)


def test_learnt_steps_go_with_the_rows_that_they_are_of():
    matrix, scheme = weights(), Scheme(3, 32, "affine")
    nearest = pack(matrix.tobytes(), "f32", 128, scheme)
    learnt = LearntScales(*np.random.default_rng(0).normal(size=(2, 24, 4)).astype(np.float32))
    one, pieces = pack_with_learnt_scales(learnt, pack), []
    for start in range(0, 24, 7):
        pieces.append(one(matrix[start : start + 7].tobytes(), "f32", 128, scheme))
    found = tuple(b"".join(each) for each in zip(*pieces, strict=True))
    assert found == (nearest[0], learnt.scales.tobytes(), learnt.biases.tobytes())


@pytest.mark.parametrize("half", [None, 1])
def test_each_expert_is_packed_by_its_own_inputs(half):
    """Rows of several experts come in pieces that do not end where an expert does."""
    scheme, seen = Scheme(4, 64, "affine"), [correlated(seed=seed) for seed in range(3)]
    seen[1] = seen[1][:0]  # to which no row is routed
    experts = np.stack([weights()[:8], weights()[8:16], weights()[16:]])
    own = {expert_path("m", number): x for number, x in enumerate(seen)}
    run = lambda layers: [see(own[path]) for path, see in layers.items()]  # noqa: E731
    module = ModuleToPack("lm.m", "lm.m", "lm.m.weight", scheme, half, path="m")
    shape = (3, 8 if half is None else 16, 128)
    one = Gptq(Hessians(run, dict.fromkeys(own, 128))).pack(module, shape, packer.pack_rows)
    rows, parts = experts.reshape(24, 128), []
    for start in range(0, 24, 5):
        parts.append(one(rows[start : start + 5].tobytes(), "f32", 128, scheme))
    found = dequantized(tuple(b"".join(each) for each in zip(*parts, strict=True)), scheme)
    for number, x in enumerate(seen):
        alone = dequantized(packed(experts[number], x, scheme), scheme, 8)
        np.testing.assert_allclose(found[8 * number : 8 * number + 8], alone, atol=1e-6)

"""AWQ's scales and clips, against their formulas in torch and on layers that need them."""

import numpy as np
import pytest
import torch

from composer.formats.affine_packing import round_rows
from composer.formats.quantization import Scheme
from composer.quantization.awq import (
    GRID,
    AwqScaling,
    awq_pack,
    clipped,
    column_scales,
    weight_clip_ratios,
)
from tests.quantization.test_gptq import correlated, dequantized, weights

FOUR = Scheme(4, 64, "affine")


def uneven(seed=0):
    """Return inputs of which a few columns are many times as large as the others."""
    x = correlated(seed=seed)
    x[:, ::17] *= 30
    return x


def torch_round(w, scheme):
    """Round as min and max of each group say, as mx.quantize does."""
    return torch.from_numpy(round_rows(w.numpy().astype(np.float32), scheme, "f32"))


def test_scales_are_the_best_of_the_grid():
    matrix, x = weights(), uneven()
    found = column_scales(x.T @ x, [(matrix, FOUR)], "f32")
    w, inputs = torch.from_numpy(matrix), torch.from_numpy(x)
    size = inputs.pow(2).mean(0).sqrt()
    losses = {}
    for step in range(GRID):
        scales = (size ** (step / GRID)).clamp(min=1e-4)
        scales = scales / (scales.max() * scales.min()).sqrt()
        made = torch_round(w * scales, FOUR) / scales
        losses[step] = (inputs @ (made - w).T).pow(2).sum().item(), scales
    best = min(losses, key=lambda step: losses[step][0])
    assert best > 0
    np.testing.assert_allclose(found, losses[best][1].numpy(), rtol=1e-4)
    assert losses[best][0] < 0.7 * losses[0][0]


def test_even_inputs_leave_columns_as_they_are():
    matrix = weights()
    assert (column_scales(np.eye(128, dtype=np.float32), [(matrix, FOUR)], "f32") == 1).all()


def test_each_group_is_clipped_where_that_costs_least():
    matrix, x = weights(), correlated()
    matrix[3, 70] = 2.0  # one number that widens the step of its group
    found = weight_clip_ratios(x.T @ x, matrix, FOUR, "f32")
    w, inputs = torch.from_numpy(matrix), torch.from_numpy(x)
    for row, group in ((3, 1), (0, 0), (7, 1)):
        part = slice(64 * group, 64 * group + 64)
        own, errors = w[row : row + 1, part], {}
        for step in range(GRID // 2):
            share = 1 - step / GRID
            most = own.abs().max() * share
            made = torch_round(own.clamp(-most, most), FOUR)
            errors[share] = (inputs[:, part] @ (made - own).T).pow(2).sum().item()
        assert found[row, group] == np.float32(min(errors, key=errors.get))
    assert found.min() < 1


def test_the_output_is_nearer_than_without():
    matrix, x = weights(), uneven()
    hessian = x.T @ x
    columns = column_scales(hessian, [(matrix, FOUR)], "f32")
    scaled = matrix * columns
    shares = weight_clip_ratios(hessian / np.outer(columns, columns), scaled, FOUR, "f32")
    pack = awq_pack(AwqScaling(columns, np.ones(24, np.float32), shares))
    made = dequantized(pack(matrix.tobytes(), "f32", 128, FOUR), FOUR) / columns
    nearest = round_rows(matrix, FOUR, "f32")
    ours, theirs = (np.square(x @ (each - matrix).T).sum() for each in (made, nearest))
    assert ours < 0.6 * theirs
    pack = awq_pack(AwqScaling(columns, np.ones(24, np.float32), shares))
    pieces = [pack(matrix[at : at + 5].tobytes(), "f32", 128, FOUR) for at in range(0, 24, 5)]
    joined = tuple(b"".join(each) for each in zip(*pieces, strict=True))
    assert (dequantized(joined, FOUR) / columns == made).all()


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_clipping_is_by_group_and_of_both_signs(share):
    rows = np.array([[-4, 1, 2, 3, 0.5, -1, 8, 2]], np.float32)
    wanted = np.concatenate(
        [np.clip(rows[:, :4], -4 * share, 4 * share), np.clip(rows[:, 4:], -8 * share, 8 * share)],
        axis=1,
    )
    assert (clipped(rows, share, 4) == wanted).all()

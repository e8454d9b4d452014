"""GPTQ: round a matrix column by column, and let the columns that follow make up for the error.

https://arxiv.org/abs/2210.17323, algorithm 1, with the scale and the bias of a group taken from its
columns as they are when their turn comes. Columns keep their order, as the packing has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from composer.core.calibration import expert_path
from composer.formats.affine_packing import (
    float_rows,
    pack_codes,
    rounded,
    steps,
    stored_parts,
)
from composer.formats.packing import ModuleToPack, Pack, Packing
from composer.formats.quantization import Scheme
from composer.quantization.hessians import Hessians
from composer.quantization.samples import Samples

DAMPING = 0.01  # of the mean of the Hessian's diagonal, which is added to it


def inverse_factor(hessian: np.ndarray) -> np.ndarray:
    """Return the upper factor U float32 [K, K] of a damped Hessian's inverse, which is U^T U.

    That of zeros is the identity's, with which the nearest is the best.
    """
    damped = hessian.astype(np.float64)
    mean = float(np.diag(damped).mean())
    damped[np.diag_indices_from(damped)] += DAMPING * mean if mean else 1.0
    inverse = np.linalg.inv(damped)
    factor: np.ndarray = np.linalg.cholesky((inverse + inverse.T) / 2).T
    return np.ascontiguousarray(factor, np.float32)


def quantize(
    rows: np.ndarray, factor: np.ndarray, scheme: Scheme, dtype: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return codes uint8 [N, K], scales and biases float32 [N, G] of rows [N, K].

    Scales and biases are rounded to a dtype, and the error that is made up for is that of the
    numbers as they are then read.
    """
    left = np.ascontiguousarray(rows.T, np.float32)  # a column of the matrix is a row here
    size, most = scheme.group_size, 2**scheme.bits - 1
    codes = np.empty(left.shape, np.uint8)
    all_scales, all_biases = [], []
    for start in range(0, len(left), size):
        end = start + size
        scale, bias = steps(left[start:end].T, scheme.bits)
        kept_scale, kept_bias = rounded(scale, dtype), rounded(bias, dtype)
        errors = np.empty((size, left.shape[1]), np.float32)
        for at in range(start, end):
            code = np.clip(np.rint((left[at] - bias) / scale), 0, most)
            error = (left[at] - (code * kept_scale + kept_bias)) / factor[at, at]
            left[at + 1 : end] -= factor[at, at + 1 : end, None] * error
            codes[at], errors[at - start] = code, error
        left[end:] -= factor[start:end, end:].T @ errors
        all_scales.append(kept_scale)
        all_biases.append(kept_bias)
    return codes.T, np.stack(all_scales, axis=1), np.stack(all_biases, axis=1)


def gptq(samples: Samples) -> Packing:
    """Return a packing whose modules are rounded by what they see."""
    modules, packing = samples.modules(experts=True), samples.packing
    columns = {}
    for module, tensor in modules.items():
        columns.update(dict.fromkeys(matrices(module, tensor.shape), tensor.shape[-1]))
    gptq = Gptq(Hessians(samples.watch, columns))
    packs = {m.name: gptq.pack(m, each.shape, packing.pack) for m, each in modules.items()}
    return replace(packing, packs=packs)


def matrices(module: ModuleToPack, shape: Sequence[int]) -> list[str]:
    """Return the names of the matrices in a tensor of a shape: one, or one for each expert."""
    if len(shape) == 2:
        return [module.path]
    return [expert_path(module.path, number) for number in range(shape[0])]


@dataclass
class Gptq:
    """Packs the modules of a component, one after another, by what they see."""

    hessians: Hessians
    path: str = ""
    factor: np.ndarray | None = None

    def pack(self, module: ModuleToPack, shape: Sequence[int], nearest: Pack) -> Pack:
        """Return how the rows of a module are packed, which come in pieces from the first on.

        A matrix that saw nothing is packed as `nearest` does.
        """
        paths, start = matrices(module, shape), 0
        size = shape[-2] if module.half is None else shape[-2] // 2

        def pack(data: Any, dtype: str, columns: int, scheme: Scheme) -> tuple[bytes, ...]:
            nonlocal start
            rows, made = float_rows(data, dtype, columns), []
            row = len(data) // len(rows)
            at = 0
            while at < len(rows):
                number, first = divmod(start + at, size)
                end = min(at + size - first, len(rows))
                factor = self._factor(paths[number])
                if factor is None:
                    piece = data[at * row : end * row]
                    made.append(nearest(piece, dtype, columns, scheme))
                else:
                    made.append(_packed(rows[at:end], factor, scheme, dtype))
                at = end
            start += len(rows)
            return tuple(b"".join(parts) for parts in zip(*made, strict=True))

        return pack

    def _factor(self, path: str) -> np.ndarray | None:
        """Return the factor of a module, of which the rows may come in several pieces."""
        if path != self.path:
            hessian = self.hessians.take(path)
            self.path = path
            self.factor = inverse_factor(hessian) if self.hessians.rows[path] else None
        return self.factor


def _packed(rows: np.ndarray, factor: np.ndarray, scheme: Scheme, dtype: str) -> tuple[bytes, ...]:
    codes, scales, biases = quantize(rows, factor, scheme, dtype)
    groups = np.ascontiguousarray(codes).reshape(len(rows), -1, scheme.group_size)
    return stored_parts(pack_codes(groups, scheme.bits), scales, biases, dtype)

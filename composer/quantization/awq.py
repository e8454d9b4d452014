"""AWQ: scale columns by what goes into them before they are rounded, and clip each group.

https://arxiv.org/abs/2306.00978. The scales go into the norm or the matrix before, so that the
packing is an ordinary one. An error at a layer's output is measured by the X^T X of its inputs, and
the size of a column by its root mean square, where the paper has the mean of absolute values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from composer.core.calibration import Fold
from composer.formats.affine_packing import (
    float_rows,
    pack_codes,
    round_rows,
    round_to_codes,
    rounded,
    stored,
    stored_parts,
)
from composer.formats.packing import ModuleToPack, Pack, Packing
from composer.formats.quantization import Scheme
from composer.formats.safetensors import Tensor
from composer.quantization.hessians import Hessians
from composer.quantization.samples import Samples

GRID = 20  # powers that are tried, and shares that a group is clipped to
LEAST_SHARE = 0.5
LEAST_SCALE = 1e-4
NOT_CLIPPED = (".q_proj", ".k_proj")  # whose product decides attention


def awq(samples: Samples) -> Packing:
    """Return a packing with scaled columns, where a scale can move, and clipped groups."""
    modules = samples.modules()
    found = {module.path: AwqScaling.none(tensor) for module, tensor in modules.items()}
    changed = _move_scales(samples, modules, found)
    clip = [module for module in modules if not module.path.endswith(NOT_CLIPPED)]
    columns = {module.path: modules[module].shape[-1] for module in clip}
    hessians = Hessians(samples.watch, columns)
    for module in clip:
        tensor, scheme = modules[module], module.scheme
        scaled = found[module.path]
        hessian = hessians.take(module.path) / np.outer(scaled.columns, scaled.columns)
        rows = samples.rows(tensor) * scaled.columns / scaled.rows[:, None]
        shares = weight_clip_ratios(hessian, rows, scheme, tensor.dtype)
        found[module.path] = replace(scaled, shares=shares)
    packs = {module.name: awq_pack(found[module.path]) for module in modules}
    return replace(samples.packing, packs=packs, changed=changed)


def _move_scales(
    samples: Samples,
    modules: Mapping[ModuleToPack, Tensor],
    found: dict[str, AwqScaling],
) -> dict[str, bytes]:
    """Scale the columns of layers whose scales can move; return the new bytes of what is divided.

    These are norms, and biases of matrices. A scale does not move into a matrix that stays.
    """
    by_path = {module.path: module for module in modules}
    tensors = samples.stored()
    folds = []
    for fold in samples.call("folds"):
        before = tensors.get(_stored_name(samples.packing, by_path, fold, "weight"))
        vector = before is not None and len(before.shape) == 1
        if all(path in by_path for path in fold.layers) and (vector or fold.before in by_path):
            folds.append(fold)
    firsts = {fold.layers[0]: modules[by_path[fold.layers[0]]].shape[-1] for fold in folds}
    hessians = Hessians(samples.watch, firsts)
    changed = {}
    for fold in folds:
        layers = [by_path[path] for path in fold.layers]
        matrices = [(samples.rows(modules[module]), module.scheme) for module in layers]
        dtype = modules[layers[0]].dtype
        scales = column_scales(hessians.take(fold.layers[0]), matrices, dtype)
        if fold.before in by_path:
            found[fold.before] = replace(found[fold.before], rows=scales)
        else:
            name = _stored_name(samples.packing, by_path, fold, "weight")
            scales, changed[name] = _divided(samples.rows(tensors[name])[0], scales, tensors[name])
        if bias := _bias_of(samples.packing, by_path, fold, tensors):
            changed[bias.name] = stored(samples.rows(bias)[0] / scales, bias.dtype).tobytes()
        for path in fold.layers:
            found[path] = replace(found[path], columns=scales)
    return changed


def _stored_name(
    packing: Packing, by_path: Mapping[str, ModuleToPack], fold: Fold, part: str
) -> str:
    """Return what a part of the layer or the norm before a fold's layers is stored as."""
    name = f"{fold.before}.{part}"
    if packing.names:
        return packing.names.get(name, "")
    layer = by_path.get(fold.layers[0])
    return layer.name.removesuffix(layer.path) + name if layer else ""


def _bias_of(
    packing: Packing,
    by_path: Mapping[str, ModuleToPack],
    fold: Fold,
    tensors: Mapping[str, Tensor],
) -> Tensor | None:
    """Return the bias of what is before a fold's layers, which is divided too."""
    return tensors.get(_stored_name(packing, by_path, fold, "bias"))


def _divided(norm: np.ndarray, scales: np.ndarray, tensor: Tensor) -> tuple[np.ndarray, bytes]:
    """Return the bytes of a norm's weight [K] divided by scales, and by what they divide it."""
    kept = rounded(norm / scales, tensor.dtype)
    exact = np.divide(norm, kept, out=np.ones_like(norm), where=kept != 0)
    return exact, stored(kept, tensor.dtype).tobytes()


@dataclass(frozen=True)
class AwqScaling:
    """What happens to a matrix [N, K] before it is rounded.

    Its columns are multiplied, its rows are divided, and each group is clipped to a share [N, G] of
    its largest magnitude.
    """

    columns: np.ndarray
    rows: np.ndarray
    shares: np.ndarray

    @classmethod
    def none(cls, tensor: Tensor) -> AwqScaling:
        """Return that nothing happens to a stored matrix."""
        rows, columns = tensor.shape
        ones = np.ones(rows, np.float32)
        return cls(np.ones(columns, np.float32), ones, ones[:, None])

    def apply(self, rows: np.ndarray, start: int, size: int) -> np.ndarray:
        """Return rows from `start` on as they are to be rounded, in groups of a size."""
        end = start + len(rows)
        scaled = rows * self.columns / self.rows[start:end, None]
        return clipped(scaled, self.shares[start:end], size)


def clipped(rows: np.ndarray, shares: np.ndarray | float, size: int) -> np.ndarray:
    """Return rows whose groups are clipped to shares [N, G] of their largest magnitude."""
    groups = rows.reshape(len(rows), -1, size)
    most = abs(groups).max(axis=2) * shares
    found: np.ndarray = np.clip(groups, -most[..., None], most[..., None]).reshape(rows.shape)
    return found


def column_scales(
    hessian: np.ndarray, matrices: Iterable[tuple[np.ndarray, Scheme]], dtype: str
) -> np.ndarray:
    """Return the scales [K] of the columns of matrices that read the same input.

    They are a power of the columns' sizes, the one with the least error; ones where none is better.
    """
    matrices = [*matrices]
    sizes = np.sqrt(np.diag(hessian))
    best = np.ones(len(sizes), np.float32)
    least = _error(hessian, matrices, best, dtype)
    for step in range(1, GRID):
        scales = np.maximum(sizes ** (step / GRID), LEAST_SCALE)
        scales = (scales / np.sqrt(scales.max() * scales.min())).astype(np.float32)
        found = _error(hessian, matrices, scales, dtype)
        if found < least:
            best, least = scales, found
    return best


def _error(
    hessian: np.ndarray,
    matrices: list[tuple[np.ndarray, Scheme]],
    scales: np.ndarray,
    dtype: str,
) -> float:
    total = 0.0
    for rows, scheme in matrices:
        change = round_rows(rows * scales, scheme, dtype) / scales - rows
        total += float(((change @ hessian) * change).sum(dtype=np.float64))
    return total


def weight_clip_ratios(
    hessian: np.ndarray, rows: np.ndarray, scheme: Scheme, dtype: str
) -> np.ndarray:
    """Return the share [N, G] of its largest magnitude to which clipping a group costs least.

    Each group is measured alone, by its own part of the Hessian [K, K].
    """
    size = scheme.group_size
    best = np.ones((len(rows), rows.shape[1] // size), np.float32)
    least = np.full(best.shape, np.inf)
    for step in range(int(LEAST_SHARE * GRID)):
        share = 1 - step / GRID
        change = round_rows(clipped(rows, share, size), scheme, dtype) - rows
        for group in range(best.shape[1]):
            part = slice(group * size, (group + 1) * size)
            own = change[:, part]
            error = ((own @ hessian[part, part]) * own).sum(axis=1)
            better = error < least[:, group]
            least[better, group] = error[better]
            best[better, group] = share
    return best


def awq_pack(scaled: AwqScaling) -> Pack:
    """Return how the rows of a matrix are packed, which come in pieces from the first on."""
    start = 0

    def pack(data: Any, dtype: str, columns: int, scheme: Scheme) -> tuple[bytes, ...]:
        nonlocal start
        rows = scaled.apply(float_rows(data, dtype, columns), start, scheme.group_size)
        start += len(rows)
        codes, scales, biases = round_to_codes(rows, scheme, dtype)
        return stored_parts(pack_codes(codes, scheme.bits), scales, biases, dtype)

    return pack

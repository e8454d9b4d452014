"""DWQ: codes to the nearest, with scales and biases that were learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from composer.core.calibration import LearntScales
from composer.formats.affine_packing import stored
from composer.formats.packing import Pack, Packing
from composer.formats.quantization import Scheme
from composer.quantization.samples import Samples


def dwq_packing(samples: Samples, student: Samples, packing: Packing, seed: int) -> Packing:
    """Return a packing whose scales and biases a student learns from a bundle's own logits."""
    modules = samples.modules(packing)
    dtypes = {module.path: tensor.dtype for module, tensor in modules.items()}
    learnt = student.call("distill", samples.answers, samples.logits(), dtypes, seed)
    packs = {
        each.name: pack_with_learnt_scales(learnt[each.path], packing.pack) for each in modules
    }
    return replace(packing, packs=packs)


def pack_with_learnt_scales(learnt: LearntScales, nearest: Pack) -> Pack:
    """Return how the rows of a matrix are packed, which come in pieces from the first on."""
    start = 0

    def pack(data: Any, dtype: str, columns: int, scheme: Scheme) -> tuple[bytes, ...]:
        nonlocal start
        weight, *_ = nearest(data, dtype, columns, scheme)
        end = start + len(weight) * 8 // (columns * scheme.bits)
        parts = [stored(each[start:end], dtype).tobytes() for each in learnt]
        start = end
        return weight, *parts

    return pack

"""DWQ: codes to the nearest, with scales and biases that were learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from composer.core.calibration import LearntScales
from composer.formats.affine_packing import stored
from composer.formats.packing import Pack, Packing
from composer.formats.quantization import Scheme
from composer.quantization.samples import Samples
from composer.runtime.bundle import Bundle


def dwq(samples: Mapping[str, Samples], student: Bundle, seed: int) -> dict[str, Packing]:
    """Return packings whose scales and biases a student learns from a bundle's own logits.

    The bundle is closed before the student is loaded, so that one of them is in memory.
    """
    logits = {name: each.logits() for name, each in samples.items()}
    packed = {name: each.modules() for name, each in samples.items()}
    for each in samples.values():
        each.bundle.close()
    found = {}
    for name, each in samples.items():
        modules = packed[name]
        dtypes = {module.path: tensor.dtype for module, tensor in modules.items()}
        taught = replace(each, bundle=student)
        learnt = taught.call("distill", each.answers, logits[name], dtypes, seed)
        packs = {}
        for module in modules:
            packs[module.name] = pack_with_learnt_scales(learnt[module.path], each.packing.pack)
        found[name] = replace(each.packing, packs=packs)
    return found


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

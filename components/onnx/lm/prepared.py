"""Open a locked decoder from what its first load prepared: its weights are mapped, not packed."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from composer.core.prepared_files import prepared_files

from ..library import onnxruntime
from ..weights import WeightsFile, WeightsLayout, kept_weights, private_weights
from .graph import DecoderGraphs
from .session import DecoderSession, open_models, open_prepared, require_kernels

if TYPE_CHECKING:
    from composer.core.placement import Placement

SMALLEST = 50_000_000  # bytes from which on packing takes longer than it takes to look


def open_decoder(
    where: str, nbytes: int, graphs: DecoderGraphs, placement: Placement
) -> list[DecoderSession]:
    """Open a decoder's models: prepared ones where they are, else written down, and then kept.

    The same weights, kernels and graphs make the same numbers either way.
    """
    require_kernels(where, placement)
    store = prepared_files()
    if store is None or nbytes < SMALLEST:
        return _open_once(where, nbytes, graphs, placement)
    layout = WeightsLayout()
    graphs.build(layout)
    models = [model.serialized() for model in layout.models]
    key = store.key([_kernels().encode(), *models])
    if folder := store.find(key):
        graphs.read_back(layout, folder)
        return open_prepared(where, folder, len(models), placement)
    if not store.has_room((1 + len(models)) * nbytes):
        return _open_once(where, nbytes, graphs, placement)
    with store.make(key) as made, kept_weights(made, nbytes) as weights:
        return _write_and_open(where, weights, graphs, placement, made)


def _open_once(
    where: str, nbytes: int, graphs: DecoderGraphs, placement: Placement
) -> list[DecoderSession]:
    with private_weights(nbytes) as weights:
        return _write_and_open(where, weights, graphs, placement)


def _write_and_open(
    where: str,
    weights: WeightsFile,
    graphs: DecoderGraphs,
    placement: Placement,
    prepared: Path | None = None,
) -> list[DecoderSession]:
    graphs.build(weights)
    paths = weights.close()
    graphs.read_back(weights, weights.folder)
    return open_models(where, paths, placement, prepared=prepared)


@cache
def _kernels() -> str:
    """Name what chooses the form of prepared weights: the library's version and the processor."""
    parts = [onnxruntime().__version__, platform.platform(), platform.processor()]
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            if line.startswith(("model name", "flags", "Features", "CPU part")):
                parts.append(line)
    else:
        parts.append(platform.node())
    return "\n".join(dict.fromkeys(parts))

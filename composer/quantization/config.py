"""Say in a checkpoint's config how its modules are packed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from composer.formats.packing import ModuleToPack
from composer.formats.quantization import Scheme


def with_quantization(config: Mapping[str, Any], modules: Iterable[ModuleToPack]) -> dict[str, Any]:
    """Return the config with a quantization as mlx-lm reads it: a default, and what differs.

    Where another part of the checkpoint has one already, modules are added to it.
    """
    counts: dict[Scheme, int] = {}
    for module in modules:
        counts[module.scheme] = counts.get(module.scheme, 0) + 1
    default = max(counts, key=lambda scheme: counts[scheme])
    stored = config.get("quantization")
    table: dict[str, Any] = dict(stored) if stored else _plain(default)
    for module in modules:
        if stored or module.scheme != default:
            table[module.key] = _plain(module.scheme)
    return {**config, "quantization": table}


def _plain(scheme: Scheme) -> dict[str, Any]:
    return {"group_size": scheme.group_size, "bits": scheme.bits, "mode": scheme.mode}

"""Say of each module that a recipe packs which stored tensor it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from composer.core.errors import ComposerError, Problem
from composer.formats.packing import ModuleToPack, Pack, Packing
from composer.formats.quantization import Scheme

from .head_copy import HEAD
from .part_names import PartNames
from .weight_groups import weight_groups

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers

    from .checkpoint import Checkpoint

JOINED = {"gate_proj": ("gate_up_proj", 0), "up_proj": ("gate_up_proj", 1)}


def packing_of(
    weights: Location,
    headers: Headers,
    checkpoint: Checkpoint,
    names: PartNames,
    schemes: Mapping[str, Scheme],
    pack: Pack,
    key: Callable[[str], str] | None = None,
) -> Packing:
    """Return the modules of a recipe by their stored names.

    `key` returns what mlx-lm calls a stored module. Raise ComposerError where one is not stored.
    """
    stored = headers.safetensors(weights)
    dropped = [name for name in stored if name.endswith(HEAD) and checkpoint.head_copy]
    modules = []
    for path, scheme in schemes.items():
        name, source, half = next(_places(path, names, stored), ("", "", None))
        if not source:
            message = f"{path} is not stored under that name, and is not written packed"
            raise ComposerError(Problem("W246", message))
        config_key = key(name) if key else name
        modules.append(ModuleToPack(name, config_key, source, scheme, half, path))
    return Packing(
        weights,
        checkpoint.location / "config.json",
        tuple(modules),
        pack,
        weight_groups(checkpoint.tensors, checkpoint.schemes, schemes),
        frozenset(dropped),
        metadata={"format": "mlx"},
    )


def _places(
    path: str, names: PartNames, stored: Mapping[str, object]
) -> Iterator[tuple[str, str, int | None]]:
    """Yield a module's name, the tensor that it is stored as, and which half of that."""
    own = names.stored(f"{path}.weight").removesuffix(".weight")
    for name in (own, path, f"language_model.{path}", f"model.{path}"):
        if f"{name}.weight" in stored:
            yield name, f"{name}.weight", None
    base, _, part = own.rpartition(".switch_glu.")
    joined, half = JOINED.get(part, (part, None))
    if base and f"{base}.{joined}" in stored:
        yield own, f"{base}.{joined}", half

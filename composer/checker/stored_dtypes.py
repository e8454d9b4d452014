"""Warn of a precision in the manifest that cannot hold the weights as they are stored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import prod

from composer.core.backend import LONG, SHORT
from composer.core.errors import ComposerError, Problem
from composer.formats.headers import Headers
from composer.formats.safetensors import Tensor
from composer.graph.graph import CheckedComponent
from composer.manifest import Manifest

FILE = ".safetensors"
HOLDS = {"f32": {"f32", "f16", "bf16"}, "f16": {"f16"}, "bf16": {"bf16"}}
FLOATS = HOLDS["f32"]


def stored_dtype_problems(
    manifest: Manifest,
    components: Mapping[str, CheckedComponent],
    asked: Collection[str],
    headers: Headers,
) -> Iterator[Problem]:
    """Yield a warning for each component whose weights are mostly stored in a dtype that it rounds.

    Headers alone are read. What a user `asked` for is no mistake of the manifest's.
    """
    for name, known in components.items():
        wanted = SHORT.get(known.spec.dtype or "")
        if wanted is None or name in asked or not known.facts or known.facts.unknown:
            continue
        stored = _main_dtype(known, headers)
        if stored is None or stored.dtype in HOLDS[wanted]:
            continue
        yield Problem(
            "L346",
            f"precision is {LONG[wanted]}, which rounds weights that are stored in "
            f"{LONG[stored.dtype]}",
            manifest.place("components", name, "precision"),
            causes=(f"{stored.dtype}: {stored.name} {list(stored.shape)}",),
            hint=f"say float32 or {LONG[stored.dtype]}, or leave it out",
            severity="warning",
        )


def _main_dtype(known: CheckedComponent, headers: Headers) -> Tensor | None:
    """Return a tensor of the float dtype in which the most of a component's numbers are stored."""
    counts: dict[str, int] = {}
    first: dict[str, Tensor] = {}
    for file in known.files:
        if not file.inside.endswith(FILE) or not f"{file}/".startswith(f"{known.spec.weights}/"):
            continue
        try:
            tensors = headers.safetensors(file)
        except ComposerError:
            continue  # the component's own facts report it
        for tensor in tensors.values():
            if tensor.dtype in FLOATS:
                first.setdefault(tensor.dtype, tensor)
                counts[tensor.dtype] = counts.get(tensor.dtype, 0) + prod(tensor.shape)
    if not counts:
        return None
    return first[max(counts, key=lambda dtype: counts[dtype])]

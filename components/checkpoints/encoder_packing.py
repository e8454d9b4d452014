"""Which matrices of an encoder or a projector are packed: in its files, or when it is loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from composer.core.component import Spec
from composer.core.errors import Place, Problem
from composer.core.location import Location
from composer.core.suggest import some
from composer.formats.affine_packing import pack
from composer.formats.packing import ModuleToPack, Packing
from composer.formats.quantization import Scheme

from . import packing
from .folder import folder_of
from .layout import LayoutChecker
from .modules import Module, module_of
from .weight_groups import weight_groups

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor

ENOUGH = 8  # bits
MLX = {"format": "mlx"}


def packed_modules(
    checker: LayoutChecker,
    spec: Spec,
    own: Mapping[str, Tensor],
    plain: Mapping[str, Tensor],
    schemes: Mapping[str, Scheme],
    not_linear: Collection[str] = (),
) -> dict[str, Module]:
    """Return the modules that are packed by their names in the layout, and report what cannot be.

    `own` are the tensors as they are stored and `plain` as they are once dequantized; `schemes`
    says how the file packs them.
    """
    stored = stored_modules(checker.places, own, plain, schemes)
    linears = {name: each for name, each in checker.tensors.items() if name not in not_linear}
    loaded: dict[str, Module] = {}
    with checker.problems.collect(checker.problems.place):
        loaded, notes = packed_at_load(spec, linears, stored)
        checker.problems += notes
    return {**stored, **loaded}


def stored_modules(
    places: Mapping[str, str],
    own: Mapping[str, Tensor],
    plain: Mapping[str, Tensor],
    schemes: Mapping[str, Scheme],
) -> dict[str, Module]:
    """Return the modules that are stored packed; `places` leads to the names of the layout."""
    found = {}
    for path, scheme in schemes.items():
        name = places.get(f"{path}.weight")
        if name is None or f"{path}.weight" not in plain:
            continue
        parts = {}
        for part in (*packing.PARTS, "bias"):
            if tensor := own.get(f"{path}.{part}"):
                parts[part] = tensor
        place = name.removesuffix(".weight")
        found[place] = module_of(place, plain[f"{path}.weight"].shape, parts, scheme)
    return found


def packed_at_load(
    spec: Spec, tensors: Mapping[str, Tensor], stored: Mapping[str, Module]
) -> tuple[dict[str, Module], list[Problem]]:
    """Return the modules that a spec's recipe packs, and warnings; refuse what it cannot.

    A recipe means every matrix among `tensors`; what its groups do not divide stays as it is stored
    where the recipe has a name.
    """
    if spec.recipe is None:
        return {}, []
    packing.require_affine(spec.recipe, "an encoder is packed in the affine form")
    matrices = {name: each for name, each in tensors.items() if len(each.shape) == 2}
    packed = {path: module.packing for path, module in stored.items() if module.packing}
    schemes, notes = packing.plan_quantization(
        spec.recipe, matrices, packed, lambda path: True, whole=False
    )
    found = {}
    for path, scheme in schemes.items():
        parts = {"weight": tensors[f"{path}.weight"]}
        if bias := tensors.get(f"{path}.bias"):
            parts["bias"] = bias
        found[path] = module_of(path, parts["weight"].shape, parts, scheme)
    return found, [*notes, *_low_bits(spec, schemes)]


def _low_bits(spec: Spec, schemes: Mapping[str, Scheme]) -> Iterator[Problem]:
    few = sorted(path for path, scheme in schemes.items() if scheme.bits < ENOUGH)
    if few:
        yield Problem(
            "L342",
            f"precision packs {len(few)} matrices of an encoder in fewer than {ENOUGH} bits: "
            f"{some(few, 4)}",
            Place(str(spec.weights)),
            hint="an encoder loses more by it than a decoder: measure it with composer eval, or "
            "take int8",
            severity="warning",
        )


def encoder_packing(
    weights: Location,
    tensors: Mapping[str, Tensor],
    packed: Mapping[str, Module],
    files: tuple[Location, ...] = (),
) -> Packing | None:
    """Return how the modules that are packed at load are written packed, or None without any."""
    modules = []
    for path, module in packed.items():
        if module.packed_when_read:
            tensor = module.parts["weight"]
            name = tensor.name.removesuffix(".weight")
            assert module.packing
            modules.append(ModuleToPack(name, name, tensor.name, module.packing, path=path))
    if not modules:
        return None
    schemes = {path: module.packing for path, module in packed.items() if module.packing}
    groups = weight_groups(tensors, {}, schemes)
    config = folder_of(weights) / "config.json"
    names = {name: tensor.name for name, tensor in tensors.items()}
    return Packing(
        weights, config, tuple(modules), pack, groups, files=files, metadata=MLX, names=names
    )

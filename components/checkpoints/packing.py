"""Check a published quantization against the tensors, or plan one that a bundle asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from composer.core.errors import ComposerError, Problem
from composer.core.location import Location
from composer.core.suggest import shorten, some
from composer.formats.file_problems import show
from composer.formats.quantization import DYNAMIC, Scheme, read_quantization

if TYPE_CHECKING:
    from composer.core.quantization_recipe import QuantizationRecipe
    from composer.formats.safetensors import Tensor, TensorIndex

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "qkv_proj")
MLP = ("gate_proj", "up_proj", "down_proj", "gate_up_proj")
PROJECTIONS = frozenset((*ATTENTION, *MLP))
PARTS = ("weight", "scales", "biases")


def read_schemes(
    location: Location, config: Mapping[str, Any], tensors: TensorIndex
) -> tuple[dict[str, Scheme], list[Problem]]:
    """Return how each module is packed, and where the table and the tensors contradict.

    As in mlx-lm, the table's own entry for a module comes first; a module without one is packed
    by the default if its scales are stored.
    """
    packed = set()
    for name, tensor in tensors.items():
        if name.endswith((".scales", ".biases")):
            packed.add(name.rpartition(".")[0])
        if tensor.dtype == "u32":
            packed.add(name.removesuffix(".weight"))
    foreign = config.get("quantization_config")
    if "quantization" not in config and isinstance(foreign, dict) and "quant_method" in foreign:
        method = foreign["quant_method"]
        return {}, [
            Problem(
                "W243",
                f"the weights are quantized by {show(str(method))}, which mlx.lm does not read",
                hint="convert the original weights with mlx_lm.convert",
            )
        ]
    table = read_quantization(config, location / "config.json")
    if table is None:
        return {}, _unannounced(packed)
    if not packed:
        return {}, [Problem("W243", "quantization is set but no tensor is quantized")]
    found: dict[str, Scheme] = {}
    problems = []
    for path in sorted(packed | table.modules.keys()):
        scheme = table.of(path)
        if scheme is None:
            if path in packed:
                problems.append(
                    Problem("W243", f"quantization says false for {path}, which is quantized")
                )
            continue
        found[path] = scheme
        if fault := _fault(path, scheme, tensors):
            problems.append(fault)
    return found, _few(problems)


def _unannounced(packed: set[str]) -> list[Problem]:
    if not packed:
        return []
    return [
        Problem(
            "W243",
            f"{len(packed)} modules are quantized but config.json has no quantization",
            causes=(some(sorted(packed)),),
        )
    ]


def _fault(path: str, scheme: Scheme, tensors: TensorIndex) -> Problem | None:
    """Check one module's tensors against its scheme."""
    affine = scheme.mode == "affine"
    wanted = PARTS if affine else PARTS[:2]
    description = f"{scheme.bits} bits in groups of {scheme.group_size}, {scheme.mode}"
    has, shown = {}, []
    for part in PARTS:
        if tensor := tensors.get(f"{path}.{part}"):
            has[part] = tensor
            shown.append(f"{part} {tensor.dtype} {list(tensor.shape)}")
    causes = tuple(shown)
    if not has:
        return Problem("W243", f"quantization names {shorten(path)}, which is not there")
    if missing := [part for part in wanted if part not in has]:
        return Problem(
            "W243", f"{path} is {description}, but has no {', '.join(missing)}", causes=causes
        )
    if not affine and "biases" in has:
        return Problem("W243", f"{path} is {description}, which has no biases", causes=causes)
    weight, scales = has["weight"], has["scales"]
    if not weight.shape or weight.dtype != "u32" or (scales.dtype == "u8") == affine:
        return Problem("W243", f"{path} is {description}, but is not stored so", causes=causes)
    groups = scheme.unpacked(weight.shape[-1]) / scheme.group_size
    shape = (*weight.shape[:-1], groups)
    for part in wanted[1:]:
        if has[part].shape != shape:
            message = f"{path} is {description}, but its shapes are not"
            return Problem("W243", message, causes=causes)
    return None


def _few(problems: list[Problem], most: int = 8) -> list[Problem]:
    """Keep the first problems and count the rest: a wrong table is wrong for every layer."""
    left = len(problems) - most
    if left <= 0:
        return problems
    last = Problem(problems[0].code, f"{left} more modules are wrong in the same way")
    return [*problems[:most], last]


def _is_projection(path: str) -> bool:
    """Return whether a module is one of the projections that a recipe means without rules."""
    return path.rpartition(".")[2] in PROJECTIONS


def plan_quantization(
    recipe: QuantizationRecipe,
    tensors: Mapping[str, Tensor],
    packed: Mapping[str, Scheme],
    means: Callable[[str], bool] = _is_projection,
    whole: bool = True,
) -> tuple[dict[str, Scheme], list[Problem]]:
    """Return which modules a recipe quantizes and how, and warnings; refuse what it cannot.

    The modules that it `means` are a decoder's attention and MLP projections, experts included.
    Another module, such as embed_tokens or lm_head, is quantized where a rule names it: its glob
    matches, and its last part is not wildcards alone. The last rule that matches counts, and `keep`
    comes before all. What a named recipe's groups do not divide stays as it is stored; with `whole`
    only what rules name may.
    """
    if packed:
        raise ComposerError(
            Problem(
                "W246",
                f"precision is a recipe, but {len(packed)} modules are quantized already",
                hint="give the unquantized weights, or leave precision out",
            )
        )
    modules = {
        name.removesuffix(".weight"): tensor
        for name, tensor in tensors.items()
        if name.endswith(".weight") and len(tensor.shape) >= 2
    }
    problems = []
    if recipe.mode == DYNAMIC:
        hint = "take int8, which rounds no activations"
        raise ComposerError(Problem("W246", "mode dynamic is for ONNX files", hint=hint))
    for glob in recipe.required_globs:
        if not any(fnmatchcase(path, glob) for path in modules):
            what = f"the glob '{glob}' in precision matches no module with a matrix"
            problems.append(Problem("W246", what))
    found, left = {}, {}
    for path, tensor in modules.items():
        scheme = _chosen(recipe, path, means)
        if scheme is None:
            continue
        if tensor.shape[-1] % scheme.group_size == 0:
            found[path] = scheme
        elif recipe.name and not (whole and means(path)):
            left[path] = tensor
        else:
            problems.append(_uneven(path, scheme, tensor))
    if not found and not problems:
        causes = tuple(_columns(path, tensor) for path, tensor in [*left.items()][:4])
        message = "precision is a recipe that quantizes nothing"
        problems.append(Problem("W246", message, causes=causes))
    if problems:
        raise ComposerError(_few(problems))
    return found, list(_left_alone(recipe, left))


def plan_affine(
    recipe: QuantizationRecipe | None, tensors: Mapping[str, Tensor], packed: Mapping[str, Scheme]
) -> tuple[dict[str, Scheme], list[Problem]]:
    """Return what `plan` does; refuse the formats of microscaling, which MLX alone packs."""
    if recipe is None:
        return {}, []
    require_affine(recipe, "weights are packed in the affine form without MLX")
    return plan_quantization(recipe, tensors, packed)


def require_affine(recipe: QuantizationRecipe | None, what: str) -> None:
    """Refuse a recipe of another mode."""
    if recipe is None:
        return
    modes = {recipe.mode, *(rule.mode for rule in recipe.rules.values())} - {"affine"}
    if modes:
        message = f"{what}, not in {', '.join(sorted(modes))}"
        hint = "take a recipe of so many bits, such as int8"
        raise ComposerError(Problem("W246", message, hint=hint))


def _left_alone(recipe: QuantizationRecipe, left: Mapping[str, Tensor]) -> Iterator[Problem]:
    if left:
        path, tensor = next(iter(left.items()))
        yield Problem(
            "L337",
            f"{recipe.name} leaves as stored what its groups do not divide: {some(left, 4)}",
            causes=(_columns(path, tensor),),
            hint="take a smaller group_size for them by a rule, or be content",
            severity="warning",
        )


def _columns(path: str, tensor: Tensor) -> str:
    return f"{path} has {tensor.shape[-1]} columns, which its groups do not divide"


def _chosen(recipe: QuantizationRecipe, path: str, means: Callable[[str], bool]) -> Scheme | None:
    if any(fnmatchcase(path, glob) for glob in recipe.keep):
        return None
    scheme = None
    if means(path):
        scheme = Scheme(recipe.bits, recipe.group_size, recipe.mode)
    for glob, rule in recipe.rules.items():
        named = re.search(r"\w", glob.rpartition(".")[2])
        if fnmatchcase(path, glob) and (scheme or named):
            scheme = Scheme(rule.bits, rule.group_size, rule.mode)
    return scheme


def _uneven(path: str, scheme: Scheme, tensor: Tensor) -> Problem:
    return Problem(
        "W246",
        f"{path} has {tensor.shape[-1]} columns, not a multiple of the group size "
        f"{scheme.group_size}",
        hint="choose a smaller group_size, or list it under keep",
    )

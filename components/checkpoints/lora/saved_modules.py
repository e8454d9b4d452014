"""Modules that an adapter holds whole: PEFT's `modules_to_save`, and tables beside an update."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.core.suggest import some

from ..checkpoint import Checkpoint
from ..embedding_table import FLOATS, describe_tensor
from .adapter_config import AdapterConfig
from .adapter_tensors import PREFIX, AdapterChecker
from .pair import HEAD, OUTSIDE

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor

NAME = re.compile(PREFIX + r"(?P<path>.+?)(?P<base>\.base_layer)?\.(?P<leaf>weight|bias)")
Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]


@dataclass(frozen=True)
class SavedModule:
    """A module that an adapter holds whole: its weight, and its bias where it has one.

    One that is a `base` stands under the adapter's own update of that module.
    """

    path: str
    tensors: Mapping[str, Tensor]
    base: bool

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def tensor_names(self) -> set[str]:
        return {tensor.name for tensor in self.tensors.values()}


def module_shapes(checkpoint: Checkpoint) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the shapes of weight and bias of each module of a decoder, unpacked, by its path."""
    table, found = checkpoint.table, dict[str, dict[str, tuple[int, ...]]]()
    for name, tensor in checkpoint.tensors.items():
        module, _, leaf = name.rpartition(".")
        path = module.removeprefix(table.prefix)
        scheme = checkpoint.schemes.get(module)
        if leaf not in ("weight", "bias") or not (name.startswith(table.prefix) or path == HEAD):
            continue
        shape = tuple(tensor.shape)
        if scheme and leaf == "weight":
            shape = (*shape[:-1], scheme.unpacked(shape[-1]))
        found.setdefault(path, {})[leaf] = shape
    found.setdefault(HEAD, {"weight": (table.rows, table.width)})
    return found


def read_saved_modules(
    checker: AdapterChecker,
    tensors: Mapping[str, Tensor],
    configs: Sequence[AdapterConfig],
    shapes: Shapes | None,
) -> dict[str, SavedModule]:
    """Return the modules that an adapter holds whole, and report those that do not fit.

    Without `shapes` a decoder takes none.
    """
    if shapes is None:
        for config in configs:
            if config.saved:
                message = f"{config.file} says modules_to_save: {some(config.saved)}; mlx.lm and "
                checker.report(
                    "W286", f"{message}mlx.gemma4 alone take modules that were saved whole"
                )
        return {}
    named: list[str] = []
    for config in configs:
        named += config.saved
    found: dict[str, SavedModule] = {}
    for name, tensor in tensors.items():
        match = NAME.fullmatch(name)
        if match is None or not _is_meant(match["path"], match["base"], named):
            continue
        path, leaf = match["path"], match["leaf"]
        own = found.setdefault(path, SavedModule(path, {}, bool(match["base"])))
        found[path] = SavedModule(path, {**own.tensors, leaf: tensor}, own.base)
    for saved in found.values():
        _check(checker, saved, shapes.get(saved.path, {}))
    for config in configs:
        for name in config.saved:
            wanted = {path for path in shapes if _is_named(path, name)}
            missing = sorted(wanted - found.keys())
            if wanted and not missing:
                continue
            what = f"the adapter has no {some(missing)}"
            if not wanted:
                what = "the decoder has no such module"
            checker.report("W292", f"{config.file} says modules_to_save: {name}, but {what}")
    return found


def check_tying(checker: AdapterChecker, paths: set[str], configs: Sequence[AdapterConfig]) -> None:
    """Refuse an update that the head and the table are trained to share."""
    tying = [config for config in configs if config.tied]
    if tying and not paths.isdisjoint(OUTSIDE):
        checker.report(
            "W286",
            f"{tying[0].file} says ensure_weight_tying: one update of the head and the embeddings "
            "is not supported",
            hint="train the two apart, or merge the adapter into the decoder",
        )


def _is_meant(path: str, base: str | None, named: Sequence[str]) -> bool:
    """Return whether an adapter holds a module on purpose: it is named, or lies under an update."""
    if base:
        return path in OUTSIDE
    return any(_is_named(path, name) for name in named)


def _is_named(path: str, name: str) -> bool:
    """Return whether PEFT means a module by the end of its path, or of a path above it."""
    above = "model"
    for part in path.split("."):
        above += f".{part}"
        if above.endswith(name):
            return True
    return False


def _check(
    checker: AdapterChecker, saved: SavedModule, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Report tensors of a module that the decoder has not, or in another shape."""
    for leaf, tensor in saved.tensors.items():
        name, witness = f"{saved.path}.{leaf}", f"adapter: {describe_tensor(tensor)}"
        if leaf not in shapes:
            checker.report("W288", f"the decoder has no {name}", witness)
        elif tuple(tensor.shape) != shapes[leaf]:
            message = f"{name} is {list(tensor.shape)} but the decoder's is {list(shapes[leaf])}"
            hint = None
            if saved.path in OUTSIDE and tensor.shape[1:] == shapes[leaf][1:]:
                hint = "tokens were added in training: merge it into a decoder of its own"
            checker.report("W290", message, witness, hint=hint)
        elif tensor.dtype not in FLOATS:
            checker.report("W293", f"{name} is {tensor.dtype}, not floats", witness)
    if missing := sorted(shapes.keys() - saved.tensors.keys()):
        checker.report("W292", f"the adapter's {saved.path} has no {some(missing)}")

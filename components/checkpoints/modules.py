"""The modules of a checkpoint: their tensors, checked against the shapes that a network has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from composer.core.errors import Problem
from composer.core.suggest import some
from composer.formats.quantization import Scheme

from .checkpoint import Checkpoint
from .embedding_table import describe_tensor
from .ggml_blocks import PACKED, SYMMETRIC, block_scheme
from .layout import count_are
from .rope import DERIVED

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor


NARROW = ("bf16", "f16")  # floats that are as good as exact in digits
SIZES = (128, 64, 32)  # of the groups of digits
BOUNDS = 16  # bytes of what bounds the coarse product of a row


@dataclass(frozen=True)
class Module:
    """A module of the model: parameters by name, logical shape, and its scheme if packed.

    `widened` is the scheme of one that is packed, and computed in float32. One that is packed and
    has no scales among its `parts` is stored as floats, and packed when it is read.
    """

    path: str
    shape: tuple[int, ...]
    parts: Mapping[str, Tensor]
    scheme: Scheme | None
    widened: Scheme | None = None

    @property
    def packing(self) -> Scheme | None:
        """Return how it is packed, whatever it is computed in."""
        return self.scheme or self.widened

    @property
    def form(self) -> str:
        """Describe how it is stored: its packing, or its dtype."""
        return self.packing.title if self.packing else self.parts["weight"].dtype

    @property
    def packed_when_read(self) -> bool:
        """Return whether it is stored as floats that are packed when they are read."""
        return bool(self.packing) and "scales" not in self.parts and not self.in_blocks

    @property
    def in_blocks(self) -> bool:
        """Return whether it is packed in blocks of ggml, which have their scales in them."""
        return self.scheme is not None and self.parts["weight"].dtype in PACKED

    @property
    def stored_nbytes(self) -> int:
        """Return the bytes that it takes in its file."""
        return sum(tensor.nbytes for tensor in self.parts.values())

    @property
    def digit_group_size(self) -> int | None:
        """Return the size of groups in which it can be digits, or None where it stays as it is."""
        if self.packing or self.parts["weight"].dtype not in NARROW or "bias" in self.parts:
            return None
        for size in SIZES:
            if self.shape[1] % size == 0:
                return size
        return None

    def nbytes_in_digits(self, size: int) -> int:
        """Return the bytes that it takes as digits of 20 bits, and steps of three kinds."""
        count = prod(self.shape)
        return count * 5 // 2 + count // size * 24 + self.shape[0] * BOUNDS

    def nbytes(self, int8_activations: bool) -> int:
        """Return the bytes that it takes as it is computed: packed, or widened to float32.

        The codes are there a second time for many rows, unless those are rounded too. A group has
        its scale, its residual offset and what the kernel makes of its scale.
        """
        count = prod(self.shape)
        if self.scheme:
            copies = 1 if int8_activations else 2
            groups = count // self.scheme.group_size
            nbytes = copies * count * self.scheme.bits // 8 + groups * 12
        else:
            nbytes = count * 4
        if "bias" in self.parts:
            nbytes += self.parts["bias"].shape[0] * 4
        return nbytes


def read_modules(
    checkpoint: Checkpoint,
    wanted: Iterable[tuple[str, tuple[int, ...]]],
    recipe: Mapping[str, Scheme] | None = None,
) -> tuple[dict[str, Module], list[Problem]]:
    """Return modules by path, and what is missing, unexpected or of another shape.

    `wanted` are the names and the shapes of a network's tensors, as they are unpacked; `recipe` is
    how floats are packed when they are read.
    """
    tensors, schemes = checkpoint.tensors, checkpoint.schemes
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in wanted:
        path, _, part = name.rpartition(".")
        shapes.setdefault(path, {})[part] = shape
    found: dict[str, Module] = {}
    read: set[str] = set()
    missing: list[str] = []
    problems: list[Problem] = []
    for path, parts in shapes.items():
        shape, scheme, names = parts["weight"], None, [*parts]
        if len(shape) == 2 and path in schemes:
            scheme = schemes[path]
            names += ["scales", "biases"] if scheme.mode == "affine" else ["scales"]
        elif len(shape) == 2:
            scheme = block_scheme(tensors.get(f"{path}.weight")) or (recipe or {}).get(path)
        stored = {}
        for part in names:
            name = f"{path}.{part}"
            if name in tensors:
                stored[part] = tensors[name]
                read.add(tensors[name].name)
            else:
                missing.append(name)
        module = found[path] = module_of(path, shape, stored, scheme)
        problems += _misshapen(module)
    unexpected = [name for name in tensors if name not in read and not DERIVED.search(name)]
    for what, group in (("unexpected", unexpected), ("missing", missing)):
        if group:
            message = f"{count_are(group)} {what}: {some(sorted(group))}"
            problems.insert(0, Problem("W255", message))
    return found, problems


def _misshapen(module: Module) -> Iterator[Problem]:
    for name, tensor in module.parts.items():
        wanted = module.shape[:1] if name == "bias" else module.shape
        has = tensor.shape
        scheme = module.scheme or module.widened
        if name == "weight" and scheme and not (module.in_blocks or module.packed_when_read):
            has = (*has[:-1], scheme.unpacked(has[-1]))
        if name in ("weight", "bias") and has != wanted:
            what = f"{tensor.name} has the shape {list(has)}, but the model has {list(wanted)}"
            yield Problem("W255", what, causes=(describe_tensor(tensor),))


def runs_packed(scheme: Scheme) -> bool:
    """Return whether a backend of ours multiplies by such codes, without MLX."""
    return scheme.mode in ("affine", SYMMETRIC) and scheme.bits in (4, 8)


def module_of(
    path: str, shape: tuple[int, ...], parts: Mapping[str, Tensor], scheme: Scheme | None
) -> Module:
    """Return a module; one of a packing that no backend of ours multiplies is widened."""
    if scheme is None or runs_packed(scheme):
        return Module(path, shape, parts, scheme)
    return Module(path, shape, parts, None, scheme)

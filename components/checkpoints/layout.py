"""Check an encoder's tensors and configs against its layout, gathering all that contradicts.

A layout says the sizes of each tensor as words: a name is a size that other tensors share, a
digit is that very number. Weights of convolutions are given in torch's order, [out, in, *kernel].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from re import Pattern
from typing import TYPE_CHECKING, Any

from composer.core.backend import SHORT
from composer.core.component import Bound
from composer.core.errors import Place
from composer.core.location import Location
from composer.core.problems import Problems
from composer.core.suggest import listed
from composer.formats.file_problems import show_bare

from .embedding_table import FLOATS, describe_tensor

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor

MOST = 50
AXES = ("no axis", "one axis", "two axes", "three axes", "four axes")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ExpectedSetting:
    """A key of a config file, with the size that it says or else the only value there is."""

    file: Location
    path: str
    value: Any
    size: str | None = None
    wanted: Any = None

    def __str__(self) -> str:
        return f"{self.file}: {self.path}"


class LayoutChecker:
    """The tensors of an encoder under the names of its layout, its sizes, and what is wrong.

    `labels` are the names of sizes in messages, `kind` the component's and `what` it is.
    `torch_ordered` are the weights of convolutions that are stored in torch's order; `tables` are
    no convolutions, whatever their axes.
    """

    def __init__(
        self,
        kind: str,
        location: Location,
        labels: Mapping[str, str],
        what: str = "a speech encoder",
    ) -> None:
        self.kind = kind
        self.what = what
        self.location = location
        self.labels = labels
        self.problems = Problems(place=Place(str(location)))
        self.report = self.problems.report
        self.refuse = self.problems.raise_any
        self.tensors: dict[str, Tensor] = {}
        self.places: Mapping[str, str] = {}
        self.dims: dict[str, Bound] = {}
        self.torch_ordered: set[str] = set()
        self.tables: set[str] = set()

    def match(self, stored: Mapping[str, Tensor], places: Mapping[str, str]) -> None:
        """Take each tensor by its place, from the name in the file to that of the layout."""
        self.places = places
        if missing := [name for name in places if name not in stored]:
            self.report("W270", f"{describe_count(missing)} missing", *first_lines(missing))
        if left := sorted(stored.keys() - places.keys()):
            what = f"{describe_count(left)} that no part of {self.what} has"
            self.report("W271", what, *first_lines(left))
        self.tensors = {place: stored[name] for name, place in places.items() if name in stored}

    def refuse_strays(self, names: Iterable[str], parts: Sequence[str]) -> None:
        """Report tensors of a whole checkpoint that are of none of its parts, by their prefixes."""
        if strays := sorted(name for name in names if not name.startswith(tuple(parts))):
            what = f"{describe_count(strays)} of no part of such a checkpoint"
            hint = "take them out of the checkpoint"
            self.report(
                "W271", what, *first_lines(strays), f"its parts: {listed(parts)}", hint=hint
            )

    def bind(self, wanted: Mapping[str, str]) -> None:
        """Bind each size to the first tensor that has it, and check the others to it."""
        causes_of_size: dict[str, list[str]] = {}
        for name, tensor in self.tensors.items():
            sizes = wanted[name].split()
            convolves = len(sizes) > 2 and name not in self.tables
            shape = self.shape(tensor, sizes, convolves)
            if convolves and shape == tensor.shape:
                self.torch_ordered.add(name)
            for size, value in zip(sizes, shape, strict=False):
                witness = f"{self.location}: {tensor.name} {list(tensor.shape)}"
                bound = Bound(value, witness)
                if not size.isdigit() and self.dims.setdefault(size, bound).value != value:
                    causes_of_size.setdefault(size, []).append(describe_bound(bound))
        for size, causes in causes_of_size.items():
            what = f"{self.labels[size]} is not the same in {describe_count(causes)}"
            self.report("W272", what, describe_bound(self.dims[size]), *first_lines(causes))

    def shape(self, tensor: Tensor, sizes: list[str], convolves: bool) -> Shape:
        """Return a shape in torch's order; report what cannot be, and return none of it."""
        shape = tensor.shape
        if convolves:
            found = _torch_shape(shape, sizes)
            if found is None:
                either = " or ".join(_convolution_orders(sizes))
                what = f"{tensor.name} has the shape {list(shape)}; expected {either}"
                self.report("W272", what)
            return found or ()
        if len(shape) != len(sizes) or 0 in shape or not _has_sizes(shape, sizes):
            expected = AXES[min(len(sizes), 2)]
            if sizes:
                expected += " with sizes"
            if len(sizes) > 2:
                expected = f"[{', '.join(sizes)}]"
            what = f"{tensor.name} has the shape {list(shape)}; expected {expected}"
            self.report("W272", what)
            return ()
        return shape

    def precision(self, wanted: str | None) -> str:
        """Return the dtype to run in: the one asked for, or the one stored."""
        stored: dict[str, str] = {}
        for tensor in self.tensors.values():
            stored.setdefault(tensor.dtype, describe_tensor(tensor))
        hint = "say a precision: float32, float16 or bfloat16"
        if odd := sorted(set(stored) - {*FLOATS}):
            what = f"tensors are stored in {', '.join(odd)}; expected floats"
            self.report("W246", what, *(stored[each] for each in odd))
        elif wanted is None and len(stored) > 1:
            what = f"the tensors are stored in {' and '.join(sorted(stored))}"
            self.report("W246", what, *stored.values(), hint=hint)
        if wanted is not None:
            return SHORT[wanted]
        return next(iter(stored), "f32")

    def configure(self, settings: Iterable[ExpectedSetting], known: dict[str, Bound]) -> None:
        """Check what configs say against sizes; one that is not known yet becomes known."""
        for setting in settings:
            value, stated = setting.value, f"{show_bare(setting.value)} comes from {setting}"
            if setting.size is None:
                if value != setting.wanted:
                    what = f"{setting.path} is not {setting.wanted}, which is all that is computed"
                    self.report("W273", what, stated)
                continue
            sound = type(value) is int and value > 0
            if sound:
                known.setdefault(setting.size, Bound(value, str(setting)))
            causes = [stated]
            bound = known.get(setting.size)
            if bound:
                causes.append(describe_bound(bound))
            if not sound or (bound and bound.value != value):
                what = f"a config contradicts {self.labels[setting.size]}"
                self.report("W273", what, *causes)


def count_layers(names: Iterable[str], number: Pattern[str]) -> int:
    """Return how many layers tensors belong to by the largest of their numbers; at least 1."""
    last = 0
    for name in names:
        if match := number.match(name):
            last = max(last, int(match[1]))
    return last + 1


def _torch_shape(shape: Shape, sizes: list[str]) -> Shape | None:
    """Return the shape of a convolution's weight as torch has it, if only one order can be.

    MLX stores [out, *kernel, in].
    """
    if len(shape) != len(sizes) or 0 in shape:
        return None
    orders = {shape, (shape[0], shape[-1], *shape[1:-1])}
    if len(orders) == 1 and max(shape[1:]) > 1:
        return None
    fits = [order for order in orders if _has_sizes(order, sizes)]
    return fits[0] if len(fits) == 1 else None


def _has_sizes(shape: Shape, sizes: list[str]) -> bool:
    """Return whether a shape has the sizes that are numbers."""
    for size, value in zip(sizes, shape, strict=True):
        if size.isdigit() and int(size) != value:
            return False
    return True


def _convolution_orders(sizes: list[str]) -> tuple[str, str]:
    """Show the orders of a convolution's axes, torch's and MLX's."""
    channels, kernel = "in", ", ".join(sizes[2:])
    if sizes[1].isdigit():
        channels = sizes[1]
    return f"[out, {channels}, {kernel}]", f"[out, {kernel}, {channels}]"


def describe_bound(bound: Bound) -> str:
    """Describe where a size comes from."""
    return f"{bound.value} comes from {bound.witness}"


def describe_count(names: list[str]) -> str:
    """Describe how many tensors these are."""
    return "1 tensor" if len(names) == 1 else f"{len(names)} tensors"


def first_lines(lines: list[str]) -> list[str]:
    """Return the first lines, and how many are left."""
    left = len(lines) - MOST
    return [*lines[:MOST], f"and {left} more"] if left > 0 else lines


def count_are(names: Iterable[str]) -> str:
    """Return "1 tensor is" or "N tensors are"."""
    number = len(list(names))
    return "1 tensor is" if number == 1 else f"{number} tensors are"

"""What the core asks of an array library, and the answers for NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from composer.core.placement import HOST, Placement, PlacementKey

SHORT = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16",
    "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8",
    "uint64": "u64", "uint32": "u32", "uint16": "u16", "uint8": "u8", "bool": "bool",
}  # fmt: skip
LONG = {short: long for long, short in SHORT.items()}


def numpy_dtype(short: str) -> np.dtype:
    """Return NumPy's dtype for a short name; float32 for bfloat16, which NumPy lacks."""
    if short == "bf16":
        return np.dtype("float32")
    return np.dtype(LONG[short])


def widen(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Return stored floats as float32, which holds each of bf16 and f16 exactly.

    bfloat16, which NumPy lacks, comes as its bits, uint16.
    """
    if dtype == "bf16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


@dataclass(frozen=True)
class Colours:
    """How boxes of a backend are filled and outlined, on a light page and on a dark one."""

    fill: str
    stroke: str
    dark_fill: str
    dark_stroke: str


class Backend(Protocol):
    """An array library: how its values cross to NumPy and back, and how it describes itself.

    `title` is what people call it and `packages` are those whose versions its results depend on.
    `arrays` names the backend whose arrays its components take and give: itself, or NumPy;
    `array_type` is the qualified name of these. `threaded` says that they belong to one thread,
    which the executor then keeps for it. It computes in `dtypes`, `placement` are the keys of a
    placement that it reads, and `operators` are those that it runs on its own arrays. Pictures
    show it in its `colours`.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    arrays: str
    array_type: str
    threaded: bool
    dtypes: frozenset[str]
    placement: tuple[PlacementKey, ...]
    operators: Mapping[str, Callable[..., Any]]
    colours: Colours | None

    def compile(self, network: Any, placement: Placement) -> Callable[..., Any]:
        """Load a network with its weights and return it as a function of arrays."""

    def packs(self, scheme: Any) -> bool:
        """Return whether a network's weights stay in a `formats.quantization.Scheme`."""

    def suitability(self) -> tuple[int, str]:
        """Return how well it suits this machine, the most the best, and why in a few words.

        It imports no array library: `check` chooses by it.
        """

    def diagnose(self) -> str:
        """Compute something and say on what in a line; raise whatever is wrong with it here."""

    def shape(self, value: Any) -> tuple[int, ...]: ...

    def dtype(self, value: Any) -> str: ...

    def to_numpy(self, value: Any) -> np.ndarray:
        """Return the same numbers; bfloat16, which NumPy lacks, as float32."""

    def from_numpy(self, value: np.ndarray, dtype: str) -> Any: ...

    def cast(self, value: Any, dtype: str) -> Any: ...

    def wait_until_computed(self, value: Any) -> None:
        """Wait until the value is computed, so that its node is charged for it."""

    def count_infinite(self, value: Any) -> int:
        """Count the numbers that are NaN or infinite; a value that holds no floats has none."""

    def is_all_zero(self, value: Any) -> bool:
        """Return whether every number is 0, without a copy of the value."""

    def concat(self, parts: Sequence[Any]) -> Any:
        """Return rows [N, D] one after the other."""


class NumpyArrays:
    """Arrays of NumPy, which other libraries may take and give."""

    name = HOST
    title = "NumPy"
    packages: tuple[str, ...] = ("numpy",)
    arrays = HOST
    array_type = "numpy.ndarray"
    threaded = False
    dtypes = frozenset({"f32"})
    placement: tuple[PlacementKey, ...] = ()
    operators: Mapping[str, Callable[..., Any]] = {}
    colours: Colours | None = Colours("#e9f3ff", "#3b7ac7", "#10233d", "#5a9be6")

    def compile(self, network: Any, placement: Placement) -> Callable[..., Any]:
        raise NotImplementedError

    def packs(self, scheme: Any) -> bool:
        return False

    def suitability(self) -> tuple[int, str]:
        return 0, "nothing else runs it"

    def diagnose(self) -> str:
        return "computes on the CPU"

    def shape(self, value: np.ndarray) -> tuple[int, ...]:
        return value.shape

    def dtype(self, value: np.ndarray) -> str:
        return SHORT[value.dtype.name]

    def to_numpy(self, value: np.ndarray) -> np.ndarray:
        return value

    def from_numpy(self, value: np.ndarray, dtype: str) -> np.ndarray:
        return self.cast(value, dtype)

    def cast(self, value: np.ndarray, dtype: str) -> np.ndarray:
        """Return the value in another dtype; raise OverflowError where an integer does not fit."""
        made = value.astype(numpy_dtype(dtype), copy=False)
        if value.dtype.kind in "iu" and made.dtype.kind in "iu" and not np.array_equal(made, value):
            raise OverflowError(f"{dtype} cannot hold {value.min()} to {value.max()}")
        return made

    def wait_until_computed(self, value: np.ndarray) -> None:
        """Return at once: NumPy computes as it goes."""

    def count_infinite(self, value: np.ndarray) -> int:
        array = self.to_numpy(value)
        if array.dtype.kind != "f":
            return 0
        return int(array.size - np.isfinite(array).sum())

    def is_all_zero(self, value: np.ndarray) -> bool:
        return not self.to_numpy(value).any()

    def concat(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts)

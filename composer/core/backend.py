"""What the executor needs to know about an array library, and the answer for NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from composer.core.placement import Placement

SHORT = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16",
    "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8",
    "uint64": "u64", "uint32": "u32", "uint16": "u16", "uint8": "u8", "bool": "bool",
}  # fmt: skip
LONG = {short: long for long, short in SHORT.items()}


def numpy_dtype(short: str) -> np.dtype:
    """Return NumPy's dtype for a short name; float32 for bfloat16, which NumPy lacks."""
    return np.dtype("float32" if short == "bf16" else LONG[short])


class Backend(Protocol):
    """An array library: how its values cross to NumPy and back, and its two operators.

    `threaded` says that its arrays belong to one thread, which the executor then keeps for it.
    `arrays` names the backend whose arrays its components take and give: itself, or NumPy. It
    computes in `dtypes`, and `placement_keys` are those of a placement that it reads.
    """

    name: str
    arrays: str
    threaded: bool
    dtypes: frozenset[str]
    placement_keys: frozenset[str]

    def compile(self, network: Any, placement: Placement) -> Callable[..., Any]:
        """Load a network with its weights and return it as a function of arrays."""

    def suits(self) -> tuple[int, str]:
        """Return how well it suits this machine, the most the best, and why in a few words.

        It imports no array library: `check` chooses by it.
        """

    def owns(self, value: Any) -> bool: ...

    def shape(self, value: Any) -> tuple[int, ...]: ...

    def dtype(self, value: Any) -> str: ...

    def to_numpy(self, value: Any) -> np.ndarray:
        """Return the same numbers; bfloat16, which NumPy lacks, as float32."""

    def from_numpy(self, value: np.ndarray, dtype: str) -> Any: ...

    def cast(self, value: Any, dtype: str) -> Any: ...

    def settle(self, value: Any) -> None:
        """Wait until the value is computed, so that its node is charged for it."""

    def concat(self, parts: Sequence[Any]) -> Any:
        """Return rows [N, D] one after the other."""

    def scatter(self, base: Any, at: np.ndarray, values: Any) -> Any:
        """Return base [T, D] with the rows where at [T] is true replaced by values, in order."""

    def fill(self, ids: Any, at: np.ndarray, value: int) -> Any:
        """Return ids [T] with `value` wherever at [T] is true."""


class NumPy:
    """Arrays of NumPy, which ONNX Runtime takes and gives."""

    name = "numpy"
    arrays = "numpy"
    threaded = False
    dtypes = frozenset({"f32"})
    placement_keys: frozenset[str] = frozenset()

    def compile(self, network: Any, placement: Placement) -> Callable[..., Any]:
        raise NotImplementedError

    def suits(self) -> tuple[int, str]:
        return 0, "nothing else runs it"

    def owns(self, value: Any) -> bool:
        return isinstance(value, np.ndarray)

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

    def settle(self, value: np.ndarray) -> None:
        """Return at once: NumPy computes as it goes."""

    def concat(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts)

    def scatter(self, base: np.ndarray, at: np.ndarray, values: np.ndarray) -> np.ndarray:
        out = base.copy()
        out[at] = values
        return out

    def fill(self, ids: np.ndarray, at: np.ndarray, value: int) -> np.ndarray:
        return np.where(at, np.asarray(value, ids.dtype), ids)

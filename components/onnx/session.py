"""Open an ONNX Runtime session and run it, its failures in a user's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.core.isolation import is_isolated
from composer.core.suggest import listed

from .graph_contract import GraphContract, shape_text
from .in_process import LocalGraph
from .interruptible import GraphTimeout
from .isolated import IsolatedGraph
from .library import local_providers

if TYPE_CHECKING:
    from pathlib import Path

    from composer.core.placement import Placement

CPU = "CPUExecutionProvider"
TYPES = {
    "float": "f32", "float16": "f16", "double": "f64", "bool": "bool",
    "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8",
    "uint64": "u64", "uint32": "u32", "uint16": "u16", "uint8": "u8",
}  # fmt: skip
Feeds = Mapping[str, np.ndarray]


def fail(
    contract: GraphContract, code: str, message: str, *causes: str, hint: str | None = None
) -> NoReturn:
    """Raise one problem of a file at run time."""
    raise ComposerError(Problem(code, f"{contract.file}: {message}", None, causes, hint))


class Session:
    """A loaded graph that runs for at most `limit` seconds, in a child process where it must."""

    isolated: Callable[..., Any] = IsolatedGraph
    local: Callable[..., Any] = LocalGraph

    def __init__(
        self, path: Path, contract: GraphContract, placement: Placement, nbytes: int = 0
    ) -> None:
        self.contract = contract
        self.limit = placement.get("time_limit") or contract.config.time_limit
        wanted = placement.get("providers") or (CPU,)
        there = local_providers()
        lacking = [name for name in wanted if name not in there]
        if lacking:
            self._refuse_providers(lacking, there)
        threads = placement.get("threads")
        try:
            if is_isolated():
                memory = placement.get("child_memory_gb")
                self.graph = self.isolated(path, nbytes, threads, wanted, memory)
            else:
                self.graph = self.local(path, threads, wanted)
        except GraphTimeout:
            hint = "its graph computes while it is loaded; a lock of your own spares it the limit"
            fail(contract, "R532", "ONNX Runtime did not load it in time", hint=hint)
        except Exception as error:
            fail(contract, "R532", f"ONNX Runtime cannot load it: {short_error_text(error)}")
        failed = [name for name in wanted if name not in self.graph.providers]
        if failed:
            self._refuse_providers(failed, self.graph.providers)
        self._require_same_tensors()

    def _refuse_providers(self, lacking: list[str], there: list[str]) -> NoReturn:
        fail(
            self.contract,
            "R531",
            f"the execution provider {listed(lacking)} is not available",
            hint=f"available here: {listed(there)}",
        )

    def _require_same_tensors(self) -> None:
        """Raise unless the file that was loaded has the tensors of the file that was checked."""
        for role, wanted, found in (
            ("input", self.contract.inputs, self.graph.inputs),
            ("output", self.contract.outputs, self.graph.outputs),
        ):
            before = {}
            for name, tensor in wanted.items():
                before[name] = (tensor.dtype, None if tensor.stated else tensor.dims)
            after = {name: (_dtype(kind), shape) for name, kind, shape in found}
            if list(before) == list(after) and all(map(_alike, before.values(), after.values())):
                continue
            _refuse_changed(
                self.contract,
                f"checked {role}s: {_listed(before)}",
                f"loaded {role}s: {_listed(after)}",
            )

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Return every output by its name in the file."""
        return self.within_limit(feeds, self.graph.run)

    def within_limit(
        self, feeds: Feeds, run: Callable[[Feeds, float], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Return what a run of the graph gives, in the time that it may take."""
        try:
            return run(feeds, self.limit)
        except GraphTimeout:
            fail(
                self.contract,
                "R534",
                f"stopped after {self.limit:g} s, the time limit",
                describe_feeds(feeds),
                hint="if you trust it: --place time_limit=SECONDS",
            )
        except Exception as error:
            fail(
                self.contract,
                "R533",
                f"ONNX Runtime failed: {short_error_text(error)}",
                describe_feeds(feeds),
            )


def _refuse_changed(contract: GraphContract, *causes: str) -> NoReturn:
    """Refuse a file that is no longer the one that was checked."""
    message = "changed after it was checked"
    fail(contract, "R530", message, *causes, hint="load the bundle again")


def describe_feeds(feeds: Feeds) -> str:
    """Describe what a graph was given."""
    shown = [f"{name} {array.dtype} {list(array.shape)}" for name, array in feeds.items()]
    return "fed " + ", ".join(shown)


def short_error_text(error: Exception) -> str:
    """Return the first line of ONNX Runtime's message, without its own numbering."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : (\w+) : ", r"\1: ", line)


def _dtype(text: str) -> str:
    inside = text.removeprefix("tensor(").removesuffix(")")
    return TYPES.get(inside, text)


def _alike(before: tuple[str, Any], after: tuple[str, Any]) -> bool:
    """Compare a declared tensor with a loaded one, whose shape may have become more certain."""
    (dtype, dims), (found_dtype, found) = before, after
    if dims is None or dtype != found_dtype:
        return dtype == found_dtype
    if len(dims) != len(found):
        return False
    for dim, length in zip(dims, found, strict=True):
        if isinstance(dim, int) and dim != length:
            return False
    return True


def _listed(tensors: Mapping[str, tuple[str, Any]]) -> str:
    found = []
    for name, (dtype, dims) in tensors.items():
        found.append(f"{name} {dtype} {shape_text(dims or ())}")
    return "; ".join(found)

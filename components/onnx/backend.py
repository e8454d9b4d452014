"""ONNX Runtime as a backend: its values are NumPy's arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from composer.core.backend import Colours, NumpyArrays
from composer.core.placement import Placement, PlacementKey
from composer.formats.quantization import Scheme

from ..checkpoints.modules import runs_packed
from .library import local_providers
from .network import OnnxNetwork


class OnnxBackend(NumpyArrays):
    """Arrays of NumPy, which ONNX Runtime takes and gives."""

    name = "onnx"
    title = "ONNX Runtime"
    packages = ("onnxruntime",)
    placement = (
        PlacementKey(
            "threads",
            Annotated[int, Field(ge=1, le=1024)],
            "Threads inside one operation of ONNX Runtime.",
            lambda number: "1 thread" if number == 1 else f"{number} threads",
        ),
        PlacementKey(
            "providers",
            Annotated[list[str], Field(min_length=1)],
            "ONNX Runtime's execution providers, best first.",
            ", ".join,
        ),
        PlacementKey(
            "time_limit",
            Annotated[float, Field(gt=0, le=86_400)],
            "Seconds after which a run of an ONNX file is stopped.",
            lambda seconds: f"at most {seconds:g} s a run",
        ),
        PlacementKey(
            "child_memory_gb",
            Annotated[float, Field(gt=0, le=10_000)],
            "Memory that an ONNX file which is not locked may take, in GB.",
            lambda size: f"at most {size:g} GB",
        ),
    )

    colours = Colours("#f2ecfd", "#7a53c4", "#241a3a", "#a084e0")

    def packs(self, scheme: Scheme) -> bool:
        return runs_packed(scheme)

    def suitability(self) -> tuple[int, str]:
        return 2, "ONNX Runtime is the fastest here on a CPU"

    def diagnose(self) -> str:
        return "providers " + ", ".join(local_providers())

    def compile(self, network: Any, placement: Placement) -> Callable[..., Any]:
        return OnnxNetwork(network, placement)

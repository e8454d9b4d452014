"""What decoders on ONNX Runtime compute in, and what they refuse to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from composer.core.component import ComponentConfig, Spec
from composer.core.errors import Problem

from ...checkpoints.gguf.precision import recipe_problem


class ActivationPrecision(ComponentConfig):
    """How products are computed."""

    activations: Literal["float32", "int8"] = Field(
        "float32",
        description="`int8` rounds what packed weights are multiplied by to 8 bits, group by "
        "group: several times as fast, and not the same numbers",
    )

    @property
    def int8(self) -> bool:
        """Whether activations are rounded."""
        return self.activations == "int8"


def unsupported_precision(spec: Spec, kind: str, other: str) -> Iterator[Problem]:
    """Refuse a precision that a kind of component does not compute in, and name one that does."""
    if spec.dtype not in (None, "float32"):
        yield Problem(
            "W246",
            f"{kind} computes in float32, not {spec.dtype}",
            hint="ONNX Runtime attends and multiplies packed weights in float32 on a CPU: leave "
            f"precision out, or use {other}",
        )
    if problem := recipe_problem(spec):
        yield problem

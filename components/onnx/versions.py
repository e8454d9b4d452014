"""What the installed ONNX Runtime can load, known without importing it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from composer.core.errors import Place, Problem
from composer.core.suggest import listed

if TYPE_CHECKING:
    from composer.formats import OnnxSignature

# The newest IR version and opset that each version loads, measured with a model of one Add node:
# 1.22.0 to 1.32.0. Later versions load at least what the last one does.
NEWEST = {
    (1, 22): (10, 22),
    (1, 23): (11, 23),
    (1, 24): (13, 25),
    (1, 25): (13, 26),
    (1, 32): (14, 28),
}
MEASURED = (1, 32)
NEWEST_OF = {"com.microsoft": 1, "ai.onnx.ml": 5}  # of other domains, in all versions up to that
OLDEST_OPSET = 7


def installed_version() -> tuple[int, int] | None:
    """Return the major and minor version of ONNX Runtime, or None where it is not installed."""
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            major, minor, *_ = version(name).split(".")
        except PackageNotFoundError:
            continue
        return int(major), int(minor)
    return None


def version_problems(signature: OnnxSignature) -> Iterator[Problem]:
    """Report versions that this ONNX Runtime does not load, and bfloat16 that it cannot compute."""
    place = Place(str(signature.file))
    opset = signature.opsets.get("", signature.opsets.get("ai.onnx", OLDEST_OPSET))
    if opset < OLDEST_OPSET:
        yield Problem(
            "W268",
            f"its opset is {opset}, but ONNX Runtime loads {OLDEST_OPSET} and later",
            place,
            hint="convert it with onnx.version_converter, or export it again",
        )
    here = installed_version()
    if here and here <= MEASURED:
        name = f"ONNX Runtime {here[0]}.{here[1]}"
        newest_ir, newest = NEWEST[max(each for each in NEWEST if each <= here)]
        found = [("IR version", signature.ir, newest_ir), ("opset", opset, newest)]
        for domain, most in NEWEST_OF.items():
            found.append((f"opset of {domain}", signature.opsets.get(domain, 1), most))
        for what, value, most in found:
            if value > most:
                yield Problem(
                    "W268",
                    f"its {what} is {value}, but {name} loads up to {most}",
                    place,
                    hint=f"export it with an older {what}, or install a later ONNX Runtime",
                )
    if signature.bfloat16:
        operators = listed(sorted(signature.bfloat16))
        origin = next(iter(signature.bfloat16.values()))
        yield Problem(
            "L332",
            f"{operators} computes with bfloat16, which ONNX Runtime has no CPU kernels for",
            place,
            (origin,),
            "place it on a GPU, or export the weights as float32 or float16",
            "warning",
        )

"""Hold a checkpoint's headers against the graph that it is to become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from composer.component import Spec
from composer.errors import ComposerError, Place, Problem

from ...lm.checkpoint import Checkpoint, hold_checkpoint, open_folder
from ...lm.packing import some
from .layout import HEAD, TABLE, Module, modules
from .settings import Settings, read_settings

if TYPE_CHECKING:
    from composer.headers import Headers


@dataclass(frozen=True)
class Readied:
    """A checkpoint that is understood; `native` says that activations are rounded to int8."""

    checkpoint: Checkpoint
    settings: Settings
    modules: Mapping[str, Module]
    native: bool
    notes: tuple[Problem, ...]

    @property
    def nbytes(self) -> int:
        """Return what the weights take once they are loaded."""
        computed = [m for p, m in self.modules.items() if p != TABLE or HEAD not in self.modules]
        return sum(module.nbytes(self.native) for module in computed)


def read_decoder(spec: Spec, headers: Headers) -> Readied:
    """Read a component's headers; raise ComposerError with everything that contradicts."""
    assert spec.weights is not None
    native = spec.config.activations == "int8"
    config, tensors = open_folder(spec.weights, headers)
    asked = list(_asked(spec))
    checkpoint = hold_checkpoint(spec.weights, headers, config, tensors, asked)
    settings, problems = read_settings(config, checkpoint.table.width)
    found: dict[str, Module] = {}
    if settings:
        found, problems = modules(checkpoint, settings)
    place = Place(str(checkpoint.file))
    if problems:
        raise ComposerError([replace(p, place=p.place or place) for p in problems][:12])
    assert settings is not None
    notes = [replace(note, place=place) for note in _widened(found, native)]
    return Readied(checkpoint, settings, found, native, (*checkpoint.notes, *notes))


def _asked(spec: Spec) -> Iterator[Problem]:
    """Refuse a precision that ONNX Runtime's kernels do not have on a CPU."""
    if spec.precision is None or spec.precision == "float32":
        return
    if isinstance(spec.precision, str):
        yield Problem(
            "W246",
            f"onnx.lm computes in float32, not {spec.precision}",
            hint="ONNX Runtime attends and multiplies packed weights in float32 on a CPU: leave "
            "precision out, or use mlx.lm",
        )
    else:
        yield Problem(
            "W246",
            "onnx.lm quantizes nothing itself",
            hint="give weights that mlx_lm.convert has quantized, or use mlx.lm",
        )


def _widened(found: Mapping[str, Module], native: bool) -> Iterator[Problem]:
    """Say which modules take more memory than in their file."""
    wide = [
        module
        for path, module in found.items()
        if len(module.shape) == 2
        and (path != TABLE or HEAD not in found)
        and module.stored < module.nbytes(native) // 3 * 2
    ]
    if wide:
        stored = sum(module.stored for module in wide) / 1e6
        taken = sum(module.nbytes(native) for module in wide) / 1e6
        kinds = sorted({_kind(module) for module in wide})
        yield Problem(
            "L330",
            f"{len(wide)} modules stored in {' and '.join(kinds)} are computed as float32, widened "
            f"exactly: {taken:.3g} MB in memory for {stored:.3g} MB in the file",
            causes=(some(module.path for module in wide),),
            severity="warning",
        )


def _kind(module: Module) -> str:
    return f"{module.scheme.bits} bits" if module.scheme else module.parts["weight"].dtype

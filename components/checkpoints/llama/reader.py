"""Hold a checkpoint's headers against the graph that it is to become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from composer.core.component import Spec
from composer.core.errors import ComposerError, Place, Problem

from ..checkpoint import Checkpoint, check_checkpoint
from ..folder import open_folder
from .layout import HEAD, TABLE, Module, modules
from .settings import Settings, read_settings

if TYPE_CHECKING:
    from composer.formats import Headers


@dataclass(frozen=True)
class ParsedDecoder:
    """A checkpoint that is understood; `native` says that activations are rounded to int8."""

    checkpoint: Checkpoint
    settings: Settings
    modules: Mapping[str, Module]
    native: bool

    @property
    def nbytes(self) -> int:
        """Return what the weights take once they are loaded."""
        computed = [m for p, m in self.modules.items() if p != TABLE or HEAD not in self.modules]
        return sum(module.nbytes(self.native) for module in computed)

    @property
    def casts(self) -> tuple[str, ...]:
        """Tell what is stored otherwise than it is loaded."""
        return tuple(_widened(self.modules, self.native))


def read_decoder(spec: Spec, headers: Headers) -> ParsedDecoder:
    """Read a component's headers; raise ComposerError with everything that contradicts."""
    assert spec.weights is not None
    native = spec.config.activations == "int8"
    folder = open_folder(spec.weights, headers, spec.config.prefix)
    asked = list(_asked(spec))
    checkpoint = check_checkpoint(folder.location, headers, folder.config, folder.tensors, asked)
    settings, problems = read_settings(folder.config, checkpoint.table.width, spec.config.ignore)
    found: dict[str, Module] = {}
    if settings:
        found, problems = modules(checkpoint, settings)
    place = Place(str(checkpoint.file))
    if problems:
        raise ComposerError([replace(p, place=p.place or place) for p in problems][:12])
    assert settings is not None
    return ParsedDecoder(checkpoint, settings, found, native)


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


def _widened(found: Mapping[str, Module], native: bool) -> Iterator[str]:
    """Tell how many modules of each form are widened, and what they take then."""
    forms: dict[str, list[Module]] = {}
    for path, module in found.items():
        if (path != TABLE or HEAD not in found) and _form(module) != "f32":
            forms.setdefault(_form(module), []).append(module)
    for form, group in sorted(forms.items()):
        if not group[0].packs(native):
            stored = sum(module.stored for module in group) / 1e6
            taken = sum(module.nbytes(native) for module in group) / 1e6
            yield (
                f"{form} -> f32, exactly, in {len(group)} modules: "
                f"{stored:.3g} MB stored, {taken:.3g} MB loaded"
            )


def _form(module: Module) -> str:
    return f"{module.scheme.bits} bits" if module.scheme else module.parts["weight"].dtype

"""What the headers of a MERaLiON speech encoder say, once they agree with each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from composer.backend import SHORT
from composer.component import Bound, Spec
from composer.errors import ComposerError, Place, Problem
from composer.headers.refusal import show
from composer.location import Location

from . import meralion_layout as layout
from .checkpoint import FLOATS, shown
from .meralion_settings import config_files, settings

if TYPE_CHECKING:
    from composer.headers import Headers
    from composer.headers.safetensors import Tensor

PARTS = ("encoder.safetensors", "adaptor.safetensors")
MOST = 50


@dataclass(frozen=True)
class SpeechCheckpoint:
    """A speech encoder's tensors by the names of `meralion_layout`, and its sizes by theirs."""

    tensors: Mapping[str, Tensor]
    dims: Mapping[str, Bound]
    layers: int
    heads: int
    dtype: str
    configs: tuple[Location, ...]
    notes: tuple[Problem, ...]

    @property
    def files(self) -> tuple[Location, ...]:
        """The files that hold a tensor of it."""
        return tuple(dict.fromkeys(tensor.file for tensor in self.tensors.values()))


def read_speech(spec: Spec, headers: Headers) -> SpeechCheckpoint:
    """Read the headers at the spec's weights; raise ComposerError with all that contradicts."""
    assert spec.weights is not None
    reading = _Reading(spec, spec.weights, headers)
    found = reading.checkpoint()
    if found is None or any(problem.severity == "error" for problem in reading.problems):
        raise ComposerError(reading.problems)
    return found


class _Reading:
    """Hold tensors and configs together, gathering what is wrong on the way."""

    def __init__(self, spec: Spec, location: Location, headers: Headers) -> None:
        self.spec = spec
        self.location = location
        self.headers = headers
        self.problems: list[Problem] = []
        self.tensors: dict[str, Tensor] = {}
        self.dims: dict[str, Bound] = {}

    def checkpoint(self) -> SpeechCheckpoint | None:
        folder, stored = self.stored()
        published = any(name.startswith(layout.ENCODER) for name in stored)
        if not published and "conv1.weight" not in stored:
            self.report(
                "W222",
                f"{self.location} has neither {layout.ENCODER}* nor conv1.weight",
                hint="mlx.meralion takes a Whisper-shaped encoder with its frame adaptor",
            )
            return None
        layers = self.match(stored, published)
        dtype = self.precision()
        configs = config_files(folder, self.headers)
        heads = self.configured(configs, layers)
        return SpeechCheckpoint(
            self.tensors, self.dims, layers, heads, dtype, configs, tuple(self.problems)
        )

    def report(self, code: str, message: str, *causes: str, **more: Any) -> None:
        place = Place(str(self.location))
        self.problems.append(Problem(code, message, place, causes, **more))

    def stored(self) -> tuple[Location, dict[str, Tensor]]:
        """Return the folder and every tensor: of a file, of a model, or of the MLX port's files."""
        location, headers = self.location, self.headers
        kind = headers.files.kind(location)
        names = headers.files.names(location) if kind == "folder" else ()
        if not {*PARTS} <= {*names}:
            inside = location.inside.rpartition("/")[0] if kind == "file" else location.inside
            folder = Location(location.source, inside, location.root)
            return folder, dict(headers.safetensors(location))
        found: dict[str, Tensor] = {}
        for part in PARTS:
            own = headers.safetensors(location / part)
            if both := sorted(found.keys() & own.keys()):
                what = f"{_count(both)} in {PARTS[0]} and in {PARTS[1]} too"
                self.report("W271", what, *_capped(both))
            found.update(own)
        if left := [n for n in names if n.endswith(".safetensors") and n not in PARTS]:
            self.ignored(", ".join(show(name)[1:-1] for name in left))
        return location, found

    def ignored(self, what: str) -> None:
        message = f"mlx.meralion reads the speech encoder alone; not read: {what}"
        self.report("L311", message, severity="warning")

    def match(self, stored: dict[str, Tensor], published: bool) -> int:
        """Give each tensor its place and bind the sizes; return the number of layers."""
        others = [name for name in stored if published and name.startswith(layout.OTHER)]
        nbytes = sum(stored.pop(name).nbytes for name in others)
        if others:
            self.ignored(f"{_count(others)} of {layout.OTHER}*, {nbytes / 1e9:.3g} GB")
        numbers = [layout.layer_number(name) for name in stored]
        layers = max((number for number in numbers if number is not None), default=0) + 1
        parts = {name.removeprefix(layout.JOINER).partition(".")[0] for name in stored}
        small = "speech_llm_proj" in parts and "gate_proj" not in parts
        wanted = dict(layout.tensors(layers, small=small))
        places = {layout.stored_name(name, published=published): name for name in wanted}
        if missing := [name for name in places if name not in stored]:
            self.report("W270", f"{_count(missing)} missing", *_capped(missing))
        if left := sorted(stored.keys() - places.keys()):
            what = f"{_count(left)} that no part of a speech encoder has"
            self.report("W271", what, *_capped(left))
        self.tensors = {place: stored[name] for name, place in places.items() if name in stored}
        self.bind(wanted)
        return layers

    def bind(self, wanted: Mapping[str, str]) -> None:
        """Bind each size to the first tensor that has it, and hold the others to it."""
        apart: dict[str, list[str]] = {}
        for name, tensor in self.tensors.items():
            sizes, shape = wanted[name].split(), tensor.shape
            if sizes[-1] == "3":
                axis = layout.kernel_axis(shape)
                if axis is None:
                    self.report(
                        "W272",
                        f"{tensor.name} has the shape {list(shape)}; "
                        "wanted [out, in, 3] or [out, 3, in]",
                    )
                    continue
                shape, sizes = (shape[0], shape[3 - axis]), sizes[:2]
            if len(shape) != len(sizes) or 0 in shape:
                axes = "one axis" if len(sizes) == 1 else "two axes"
                what = f"{tensor.name} has the shape {list(tensor.shape)}; wanted {axes} with sizes"
                self.report("W272", what)
                continue
            for size, value in zip(sizes, shape, strict=True):
                witness = f"{self.location}: {tensor.name} {list(tensor.shape)}"
                bound = self.dims.setdefault(size, Bound(value, witness))
                if bound.value != value:
                    apart.setdefault(size, []).append(_cause(Bound(value, witness)))
        for size, causes in apart.items():
            what = f"{layout.LABELS[size]} is not the same in {_count(causes)}"
            self.report("W272", what, _cause(self.dims[size]), *_capped(causes))
        self.bind_factor()

    def bind_factor(self) -> None:
        """Bind how many frames the adaptor joins."""
        joined, width, window = (self.dims.get(size) for size in ("joined", "width", "window"))
        if not joined or not width or not window:
            return
        factor, rest = divmod(joined.value, width.value)
        if rest:
            what = f"the adaptor takes {joined.value} numbers, no whole frames of {width.value}"
            self.report("W272", what, _cause(joined), _cause(width))
        elif window.value % factor:
            what = f"the adaptor joins {factor} frames, which does not divide {window.value}"
            self.report("W272", what, _cause(joined), _cause(width), _cause(window))
        else:
            self.dims["factor"] = Bound(factor, joined.witness)

    def precision(self) -> str:
        """Return the dtype to run in: the one asked for, or the one stored."""
        stored: dict[str, str] = {}
        for tensor in self.tensors.values():
            stored.setdefault(tensor.dtype, shown(tensor))
        hint = "say a precision: float32, float16 or bfloat16"
        asked = self.spec.precision
        if odd := sorted(set(stored) - {*FLOATS}):
            what = f"tensors are stored in {', '.join(odd)}; wanted floats"
            self.report("W246", what, *(stored[each] for each in odd))
        elif asked is not None and not isinstance(asked, str):
            self.report("W246", "mlx.meralion does not quantize", hint=hint)
        elif asked is None and len(stored) > 1:
            what = f"the tensors are stored in {' and '.join(sorted(stored))}"
            self.report("W246", what, *stored.values(), hint=hint)
        return SHORT[asked] if isinstance(asked, str) else next(iter(stored), "f32")

    def configured(self, files: tuple[Location, ...], layers: int) -> int:
        """Hold the configs against the tensors; return the heads, which no tensor shows."""
        known = {**self.dims, "layers": Bound(layers, f"{self.location}: its layers")}
        if self.spec.config.heads is not None:
            known["heads"] = Bound(self.spec.config.heads, "config.heads")
        every = [each for file in files for each in settings(file, self.headers.config(file))]
        for setting in every:
            value, said = setting.value, f"{show(str(setting.value))[1:-1]} comes from {setting}"
            if setting.size is None:
                if value != setting.wanted:
                    what = f"{setting.path} is not {setting.wanted}, which is all that is computed"
                    self.report("W273", what, said)
                continue
            sound = type(value) is int and value > 0
            if sound and setting.size == "heads":
                known.setdefault("heads", Bound(value, str(setting)))
            bound = known.get(setting.size)
            if not sound or (bound and bound.value != value):
                what = f"a config contradicts {layout.LABELS[setting.size]}"
                self.report("W273", what, said, *([_cause(bound)] if bound else []))
        return self.heads(known.get("heads"))

    def heads(self, bound: Bound | None) -> int:
        width = self.dims.get("width")
        if bound is None:
            hint = "say config: {heads: N}"
            if width and width.value % 64 == 0:
                hint += f"; Whisper's own heads are 64 wide, which makes {width.value // 64} here"
            self.report("W274", "nothing says how many attention heads there are", hint=hint)
            return 0
        if width and width.value % bound.value:
            what = f"{bound.value} attention heads do not divide a width of {width.value}"
            self.report("W274", what, _cause(bound), _cause(width))
        return bound.value


def _cause(bound: Bound) -> str:
    return f"{bound.value} comes from {bound.witness}"


def _count(names: list[str]) -> str:
    return "1 tensor" if len(names) == 1 else f"{len(names)} tensors"


def _capped(lines: list[str]) -> list[str]:
    left = len(lines) - MOST
    return [*lines[:MOST], f"and {left} more"] if left > 0 else lines

"""Calibrate the packing of a bundle's decoder on what its layers see when it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from composer.comparison.answers import read_answers
from composer.core import registry
from composer.core.calibration import Answer, Calibrated
from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import did_you_mean, listed
from composer.formats.packing import FileConversion, Packing
from composer.graph.checked import Checked
from composer.graph.graph import CheckedComponent
from composer.jobs.speech import audio_input, speech_graph
from composer.jobs.transcribe import expand_folders
from composer.quantization.awq import awq
from composer.quantization.dwq import dwq_packing
from composer.quantization.gptq import gptq
from composer.quantization.samples import Samples
from composer.runtime.bundle import Bundle
from composer.runtime.opening import BundleOptions

TEXT = ".txt"
DEFAULT = "gptq"
METHODS: Mapping[str, Callable[[Samples, Samples, Packing, int], Packing]] = {
    "gptq": gptq,
    "awq": awq,
    "dwq": dwq_packing,
}


@dataclass(frozen=True)
class Calibration:
    """What packing is calibrated on, and by which method.

    `sources` are clips, folders of clips, and files of plain text; `task` is the one that is run on
    clips, with `inputs`. A text runs through the decoder alone. `seed` decides the order in which
    a method that learns goes through them.
    """

    sources: Sequence[str | Path]
    method: str = DEFAULT
    task: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            hint = did_you_mean(self.method, METHODS) or f"there are {listed(METHODS)}"
            raise ComposerError(Problem("R597", f"no method is '{self.method}'", hint=hint))

    @property
    def texts(self) -> list[Path]:
        """Return the files of plain text."""
        return [Path(each) for each in self.sources if Path(each).suffix == TEXT]

    @property
    def clips(self) -> list[str]:
        """Return the clips, those of a folder in its place."""
        others = [str(each) for each in self.sources if Path(each).suffix != TEXT]
        return [str(clip) for clip in expand_folders(others)]

    def described(self, packings: Mapping[str, Packing]) -> dict[str, Any]:
        """Return what the packing depends on, in JSON's types."""
        samples = []
        for path in (*map(Path, self.clips), *self.texts):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            samples.append({"file": path.name, "sha256": digest})
        modules = {name: sorted(packing.packs) for name, packing in packings.items()}
        return {"method": self.method, "seed": self.seed, "samples": samples, "modules": modules}


@contextmanager
def calibrated_packings(
    options: BundleOptions, checked: Checked, calibration: Calibration
) -> Iterator[dict[str, Packing]]:
    """Open a bundle as it is stored, and yield how its decoders are packed by what they see.

    `checked` is the bundle with its recipes. What a layer sees may be collected only when it is
    packed, so the bundle stays open meanwhile.
    """
    backends = dict(_calibrated(checked))
    if not backends:
        raise ComposerError(Problem("R597", "no component with a recipe can be watched"))
    placed = replace(options, backends={**options.backends, **backends})
    recipes = [n for n, k in checked.components.items() if k.spec.recipe is not None]
    asked = {**options.precision, **dict.fromkeys(recipes, "stored")}
    packed = replace(placed, precision={**options.precision, **_recipes(checked, recipes)})
    with (
        replace(placed, precision=asked).open() as bundle,
        packed.open() as student,
    ):
        answers = _read_answers(bundle, calibration, backends)
        method = METHODS[calibration.method]
        found = {}
        for name in backends:
            facts = checked.components[name].facts
            assert facts
            samples = Samples(bundle, name, answers[name])
            taught = Samples(student, name, answers[name])
            found[name] = method(samples, taught, facts.packing, calibration.seed)
        yield found


def _recipes(checked: Checked, names: Sequence[str]) -> dict[str, Any]:
    return {name: checked.components[name].spec.recipe for name in names}


def _calibrated(checked: Checked) -> Iterator[tuple[str, str]]:
    """Yield the components that are packed and can be watched, and the backends on which."""
    for name, known in checked.components.items():
        packing = known.facts.packing if known.facts else None
        if not packing or isinstance(packing, FileConversion):
            continue
        for backend, kind in _kinds(known).items():
            if issubclass(registry.component(kind), Calibrated):
                yield name, backend
                break


def _kinds(known: CheckedComponent) -> Mapping[str, str]:
    """Return the kinds that a component may be, by backend."""
    if known.is_family:
        return registry.family_kinds(known.use)
    return {known.backend: known.cls.name}


def _read_answers(
    bundle: Bundle, calibration: Calibration, names: Mapping[str, str]
) -> dict[str, list[Answer]]:
    """Return what each component reads: what it was given for the clips, and the texts."""
    clips, texts = calibration.clips, [_text(path) for path in calibration.texts]
    if not clips and not texts:
        raise ComposerError(Problem("R540", "no clip is given to calibrate on"))
    found: dict[str, list[Answer]] = {name: [] for name in names}
    if clips:
        graph = speech_graph(bundle, calibration.task)
        audio = audio_input(graph)
        runs = [{**calibration.inputs, audio: clip} for clip in clips]
        decoder, answers = read_answers(bundle, graph.task, runs)
        found.setdefault(decoder, []).extend(answers)
    for name in names:
        for text in texts:
            found[name] += Samples(bundle, name, ()).call("texts", text)
    for name, answers in found.items():
        if not answers:
            message = f"nothing that is given to calibrate on runs through {name}"
            raise ComposerError(Problem("R597", message))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ComposerError(Problem("R542", f"cannot be read: {error}", Place(str(path)))) from None

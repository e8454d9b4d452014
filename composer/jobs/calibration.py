"""Calibrate the packing of a bundle's components on what their layers see when it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from composer.comparison.answers import read_answers
from composer.comparison.divergence import nodes_before
from composer.core import registry
from composer.core.calibration import Calibrated, Watched
from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import did_you_mean, listed
from composer.formats.packing import FileConversion, Packing
from composer.graph.checked import Checked
from composer.graph.graph import CheckedComponent
from composer.jobs.speech import audio_input, speech_graph
from composer.jobs.transcribe import expand_folders
from composer.quantization.awq import awq
from composer.quantization.dwq import dwq
from composer.quantization.gptq import gptq
from composer.quantization.samples import Samples
from composer.runtime.bundle import Bundle
from composer.runtime.opening import BundleOptions

TEXT = ".txt"
DEFAULT = "gptq"
DWQ = "dwq"
ALONE: Mapping[str, Callable[[Samples], Packing]] = {"gptq": gptq, "awq": awq}
METHODS = (*ALONE, DWQ)


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
    """Open a bundle as it is stored, and yield how its components are packed by what they see.

    `checked` is the bundle with its recipes. What a layer sees may be collected only when it is
    packed, so the bundle stays open meanwhile.
    """
    backends = dict(_calibrated(checked, Calibrated if calibration.method == DWQ else Watched))
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
        samples = _samples(bundle, checked, calibration, backends)
        if calibration.method == DWQ:
            yield dwq(samples, student, calibration.seed)
        else:
            method = ALONE[calibration.method]
            yield {name: method(each) for name, each in samples.items()}


def _recipes(checked: Checked, names: Sequence[str]) -> dict[str, Any]:
    return {name: checked.components[name].spec.recipe for name in names}


def _calibrated(checked: Checked, able: type) -> Iterator[tuple[str, str]]:
    """Yield the components that are packed and able to it, and the backends on which.

    That is the one that runs them anyway, where it can.
    """
    for name, known in checked.components.items():
        packing = known.facts.packing if known.facts else None
        if not packing or isinstance(packing, FileConversion):
            continue
        for backend, kind in _kinds(known).items():
            if issubclass(registry.component(kind), able):
                yield name, backend
                break


def _kinds(known: CheckedComponent) -> Mapping[str, str]:
    """Return the kinds that a component may be, by backend, first that which it is."""
    others = registry.family_kinds(known.use) if known.is_family else {}
    return {known.backend: known.cls.name, **others}


def _samples(
    bundle: Bundle, checked: Checked, calibration: Calibration, names: Iterable[str]
) -> dict[str, Samples]:
    """Return what each component sees: decoders their answers and the texts, others the clips."""
    clips, texts = calibration.clips, [_text(path) for path in calibration.texts]
    if not clips and not texts:
        raise ComposerError(Problem("R540", "no clip is given to calibrate on"))
    found = {}
    for name in names:
        facts = checked.components[name].facts
        assert facts
        found[name] = Samples(bundle, name, facts.packing)
    components = bundle.checked.components
    decoders = [name for name in found if issubclass(components[name].cls, Calibrated)]
    if clips:
        graph = speech_graph(bundle, calibration.task)
        audio = audio_input(graph)
        inputs = [{**calibration.inputs, audio: clip} for clip in clips]
        if decoders:
            decoder, answers = read_answers(bundle, graph.task, inputs)
            if decoder in found:
                found[decoder] = replace(found[decoder], answers=answers)
        for name in found.keys() - decoders:
            nodes = [node for node in graph.nodes.values() if node.component == name]
            taps = [value for node in nodes for value in node.outputs.values()]
            part = {"task": graph.task, "only": nodes_before(graph, nodes), "taps": taps}
            if nodes:
                found[name] = replace(found[name], runs=[{**part, **each} for each in inputs])
    for name in decoders:
        answers = [*found[name].answers]
        for text in texts:
            answers += found[name].call("texts", text)
        found[name] = replace(found[name], answers=answers)
    for name, each in found.items():
        if not (each.answers or each.runs):
            message = f"nothing that is given to calibrate on runs through {name}"
            raise ComposerError(Problem("R597", message, hint="give clips of a task that it is in"))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ComposerError(Problem("R542", f"cannot be read: {error}", Place(str(path)))) from None

"""Calibrate the packing of a bundle's modules on what they see when it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from composer.comparison.prompts import Prompts, read_prompts
from composer.core import registry
from composer.core.calibration import Calibrated, OnInput
from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import did_you_mean, listed
from composer.formats.packing import FileConversion, ModuleToPack, Pack, Packing
from composer.graph.checked import Checked
from composer.graph.graph import CheckedComponent
from composer.jobs.speech import audio_input, speech_graph
from composer.jobs.transcribe import expand_folders
from composer.quantization.gptq import Gptq
from composer.quantization.hessians import Hessians
from composer.runtime.bundle import Bundle
from composer.runtime.opening import BundleOptions

METHODS = ("gptq",)
TEXT = ".txt"


@dataclass(frozen=True)
class Calibration:
    """What packing is calibrated on, and by which method.

    `sources` are clips, folders of clips, and files of plain text; `task` is the one that is run on
    clips, with `inputs`. A text runs through the decoder alone.
    """

    sources: Sequence[str | Path]
    method: str = METHODS[0]
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

    def described(self, packs: Mapping[str, Mapping[str, Pack]]) -> dict[str, Any]:
        """Return what the packing depends on, in JSON's types."""
        samples = []
        for path in (*map(Path, self.clips), *self.texts):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            samples.append({"file": path.name, "sha256": digest})
        modules = {name: sorted(found) for name, found in packs.items()}
        return {"method": self.method, "seed": self.seed, "samples": samples, "modules": modules}


@contextmanager
def calibrated_packs(
    options: BundleOptions, checked: Checked, calibration: Calibration
) -> Iterator[dict[str, dict[str, Pack]]]:
    """Open a bundle as it is stored, and yield how its modules are packed by what they see.

    They are by component and by name. `checked` is the bundle with its recipes. What each module
    sees is collected when it is packed, so the bundle runs meanwhile.
    """
    watchable = dict(_watchable(checked))
    if not watchable:
        raise ComposerError(Problem("R597", "no component with a recipe can be watched"))
    recipes = [n for n, k in checked.components.items() if k.spec.recipe is not None]
    backends = {**options.backends, **watchable}
    asked = {**options.precision, **dict.fromkeys(recipes, "stored")}
    with replace(options, precision=asked, backends=backends).open() as bundle:
        samples = _read_samples(bundle, calibration)
        found = {}
        for name in watchable:
            facts = checked.components[name].facts
            assert facts
            found[name] = _packs(samples, name, facts.packing)
        yield found


def _watchable(checked: Checked) -> Iterator[tuple[str, str]]:
    """Yield the components that are packed and can be watched, and the backends that do."""
    for name, known in checked.components.items():
        if known.facts is None or not known.facts.packing:
            continue
        if isinstance(known.facts.packing, FileConversion):
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


@dataclass(frozen=True)
class _Samples:
    """What a bundle is run on to be watched."""

    bundle: Bundle
    prompts: Prompts | None
    texts: tuple[str, ...]

    def run(self, name: str, layers: Mapping[str, OnInput]) -> None:
        """Run everything once while the layers of a component are watched."""
        component: Any = self.bundle.component(name)
        watched = component.watch(layers)
        self.bundle.call(name, watched.__enter__)
        try:
            if self.prompts:
                for prompt in self.prompts.prompts:
                    self.prompts.replay(self.bundle, prompt)
            for text in self.texts:
                self.bundle.call(name, component.read_text, text)
        finally:
            self.bundle.call(name, watched.__exit__, None, None, None)


def _read_samples(bundle: Bundle, calibration: Calibration) -> _Samples:
    clips, prompts = calibration.clips, None
    if not clips and not calibration.texts:
        raise ComposerError(Problem("R540", "no clip is given to calibrate on"))
    if clips:
        graph = speech_graph(bundle, calibration.task)
        audio = audio_input(graph)
        runs = [{**calibration.inputs, audio: clip} for clip in clips]
        prompts = read_prompts(bundle, graph.task, runs)
    return _Samples(bundle, prompts, tuple(map(_text, calibration.texts)))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ComposerError(Problem("R542", f"cannot be read: {error}", Place(str(path)))) from None


def _packs(samples: _Samples, name: str, packing: Packing) -> dict[str, Pack]:
    """Return how the modules of a component are packed, of those that can be watched."""
    component: Any = samples.bundle.component(name)
    widths = samples.bundle.call(name, component.input_widths)
    modules: list[ModuleToPack] = []
    for module in packing.modules:
        if module.path in widths and module.scheme.mode == "affine":
            modules.append(module)
    columns = {module.path: widths[module.path] for module in modules}
    gptq = Gptq(Hessians(partial(samples.run, name), columns))
    return {module.name: gptq.pack(module, packing.pack) for module in modules}

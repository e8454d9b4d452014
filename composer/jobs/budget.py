"""Find the precision of each component with which a bundle fits a budget and answers best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from composer.comparison.divergence import AnswerLogits, answers, divergence
from composer.core.errors import ComposerError, Problem
from composer.formats.audio.reading import Source
from composer.jobs.progress import JobProgress, OnProgress, no_progress
from composer.jobs.speech import audio_input
from composer.jobs.transcribe import expand_folders
from composer.manifest.recipes import recipes
from composer.runtime.bundle import Bundle
from composer.runtime.opening import BundleOptions

DTYPES = ("float16", "bfloat16")


@dataclass(frozen=True)
class PrecisionTrial:
    """One component in another precision: the bundle's bytes then, and its divergence."""

    component: str
    precision: str
    nbytes: int
    divergence: float


@dataclass(frozen=True)
class PrecisionPlan:
    """A precision for each component that changes: the bundle's bytes, and its divergence.

    The divergence is in nats a token from the bundle as stored. It is `measured`, or the sum of
    those of its choices.
    """

    precision: Mapping[str, str]
    nbytes: int
    divergence: float
    measured: bool


@dataclass(frozen=True)
class Budget:
    """What was measured: each choice alone, the best editions by size, and the pick.

    `pick` is the edition of the smallest divergence among those of at most `nbytes`; None where
    none is so small. `stored` is what the bundle takes as it is stored.
    """

    nbytes: int
    stored: int
    choices: tuple[PrecisionTrial, ...]
    pareto: tuple[PrecisionPlan, ...]
    pick: PrecisionPlan | None


def budget(
    bundle: str | BundleOptions,
    nbytes: int,
    clips: Sequence[Source],
    *,
    task: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    precisions: Iterable[str] | None = None,
    progress: OnProgress = no_progress,
) -> Budget:
    """Measure each component in each precision on a few clips, and pick what fits into `nbytes`.

    What is measured is the mean divergence of the answer's logits, for the answers that the bundle
    gives as it is stored. `nbytes` counts what the weights of the task take in memory. `precisions`
    are the recipes and dtypes that are tried: all by default. Editions of several components are
    ranked by the sum of their divergences, and the pick is measured once more as a whole.
    `progress` is called with the stage "measuring".

    Raise ComposerError where the bundle is refused or does not run (any code), where no clip is
    given (R540), or where no component has a choice (R597).
    """
    options = bundle if isinstance(bundle, BundleOptions) else BundleOptions(bundle)
    clips = expand_folders(clips)
    if not clips:
        raise ComposerError(Problem("R540", "no clip is given to measure on"))
    tried = tuple(precisions or (*recipes(), *DTYPES))
    with options.open() as ready:
        name = ready.task(task)
        audio = audio_input(ready.checked.graphs[name])
        runs = [{**(inputs or {}), audio: clip} for clip in clips]
        reference = answers(ready, name, runs)
        stored = _nbytes(ready, name)
        used = ready.checked.graphs[name].components
        able = [n for n in used if "precision" in ready.checked.components[n].cls.accepts]
    measure = _Measure(options, name, runs, reference)
    choices = []
    wanted = [(component, each) for component in able for each in tried]
    for at, (component, each) in enumerate(wanted):
        progress(JobProgress("measuring", f"{component}={each}", at, len(wanted)))
        found = measure({component: each})
        if found:
            choices.append(PrecisionTrial(component, each, *found))
    if not choices:
        hint = "its weights are packed already, or its components take no precision"
        raise ComposerError(Problem("R597", "no component has a choice of precision", hint=hint))
    pareto = _pareto(_editions(stored, choices))
    fitting = [each for each in pareto if each.nbytes <= nbytes]
    pick = min(fitting, key=lambda each: each.divergence, default=None)
    if pick and len(pick.precision) > 1:
        found = measure(pick.precision)
        if found:
            pick = PrecisionPlan(pick.precision, *found, measured=True)
    return Budget(nbytes, stored, tuple(choices), tuple(pareto), pick)


@dataclass(frozen=True)
class _Measure:
    """Measures editions of one bundle on the same runs."""

    options: BundleOptions
    task: str
    runs: Sequence[Mapping[str, Any]]
    reference: Sequence[AnswerLogits]

    def __call__(self, precision: Mapping[str, str]) -> tuple[int, float] | None:
        """Return an edition's bytes and divergence, or None where it is refused."""
        asked = {**self.options.precision, **precision}
        try:
            opened = replace(self.options, precision=asked).open()
        except ComposerError:
            return None
        with opened as ready:
            nbytes = _nbytes(ready, self.task)
            return nbytes, divergence(ready, self.task, self.runs, self.reference)


def _nbytes(bundle: Bundle, task: str) -> int:
    return sum(bundle.plan(task).nbytes.values())


def _editions(stored: int, choices: Sequence[PrecisionTrial]) -> list[PrecisionPlan]:
    """Return every combination of choices, one for each component, that of none included."""
    by_component: dict[str, list[PrecisionTrial | None]] = {}
    for choice in choices:
        by_component.setdefault(choice.component, [None]).append(choice)
    found = []
    for combination in product(*by_component.values()):
        taken = [each for each in combination if each]
        saved = sum(stored - each.nbytes for each in taken)
        total = sum(each.divergence for each in taken)
        precision = {each.component: each.precision for each in taken}
        found.append(PrecisionPlan(precision, stored - saved, total, measured=len(taken) < 2))
    return found


def _pareto(editions: Iterable[PrecisionPlan]) -> list[PrecisionPlan]:
    """Return those of which none is both smaller and nearer, from the largest on."""
    found: list[PrecisionPlan] = []
    best = float("inf")
    for each in sorted(editions, key=lambda each: (each.nbytes, each.divergence)):
        if each.divergence < best:
            found.append(each)
            best = each.divergence
    return found[::-1]

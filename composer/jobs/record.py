"""Record every value of a run, for others to be compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from composer.comparison.decoder_steps import with_steps
from composer.comparison.dump import Dump
from composer.comparison.tap import tap, with_floor, with_replayed_steps
from composer.core.errors import ComposerError, Problem
from composer.graph.graph import Graph
from composer.jobs.bundle import AnyBundle, Options, opened
from composer.jobs.progress import OnProgress, Progress, no_progress
from composer.runtime.bundle import Bundle
from composer.runtime.inputs import read_inputs
from composer.runtime.opening import BundleOptions


def record(
    bundle: AnyBundle,
    inputs: Mapping[str, Any],
    *,
    task: str | None = None,
    options: Options | None = None,
    floor: AnyBundle | None = None,
    progress: OnProgress = no_progress,
) -> Dump:
    """Run a task once and return every named value, in graph order, with what made them.

    `inputs` are those of the task by name; `options` override options by node. Of a decoder that
    can replay its steps there are the logits before each token too. `.stages` are the values with
    their axes and true dtypes; `.pack()` is a .safetensors file, which `read_dump` reads.

    With `floor` the same inputs are run once more by it - the bundle in another precision, or on
    another backend - and how far that is off is kept as each stage's noise, which `compare` allows.
    Where `bundle` is a name or options, it is closed before the other is loaded. `progress` is
    called with the stages "fetching" and "running".

    Raise ComposerError where the bundle is refused, does not load or does not run (any code), where
    inputs or options are wrong (R540 to R544), where the audio is split (R549), or where the floor
    makes no difference (R546).
    """
    with opened(bundle) as ready:
        dump = _record(ready, inputs, task, options or {}, progress)
    if floor is None:
        return dump
    return measure_floor(dump, floor, inputs, task=task, options=options, progress=progress)


def measure_floor(
    dump: Dump,
    floor: AnyBundle,
    inputs: Mapping[str, Any],
    *,
    task: str | None = None,
    options: Options | None = None,
    progress: OnProgress = no_progress,
) -> Dump:
    """Return a dump with the noise of each stage: how far another run of its inputs is off.

    Raise ComposerError as `record` does.
    """
    with opened(floor) as other:
        found = with_floor(dump, _record(other, inputs, task, options or {}, progress, like=dump))
    if not any(stage.floor and stage.floor.l2 for stage in found.stages.values()):
        message = f"{_title(floor)} changes nothing here: no noise was measured"
        raise ComposerError(Problem("R546", message, hint="take another precision or variant"))
    return found


def in_precision(options: BundleOptions, dtype: str) -> BundleOptions:
    """Return a bundle with every component that has a precision in one dtype."""
    with options.open() as ready:
        known = ready.checked.components
        names = [name for name, each in known.items() if "precision" in each.cls.accepts]
    return replace(options, precision=dict.fromkeys(names, dtype))


def stepped_graph(bundle: Bundle, task: str | None) -> Graph:
    """Return a task's graph with the replayed steps of its decoders, whose options can be set."""
    return with_steps(bundle.checked).graphs[bundle.task(task)]


@contextmanager
def with_step_logits(bundle: Bundle, task: str) -> Iterator[None]:
    """Let the decoders of a bundle replay their steps, until the end.

    Its files are fetched first: the bundle is checked anew once they are here.
    """
    bundle.fetch(task)
    before = bundle.checked
    bundle.checked = with_steps(before)
    try:
        yield
    finally:
        bundle.checked = before


def _record(
    bundle: Bundle,
    inputs: Mapping[str, Any],
    task: str | None,
    options: Options,
    progress: OnProgress,
    like: Dump | None = None,
) -> Dump:
    """Run a bundle once and return all that it made, its steps with the ids of `like`."""
    name = bundle.task(task)
    values = read_inputs(bundle.checked.graphs[name], inputs)
    progress(Progress("fetching", bundle.name))
    with with_step_logits(bundle, name):
        progress(Progress("running", bundle.name))
        made = tap(bundle, name, values, options)
        return with_replayed_steps(like, made, bundle, name, options) if like else made


def _title(bundle: AnyBundle) -> str:
    """Return what makes a bundle another one: its variant and precisions, else its name."""
    if isinstance(bundle, Bundle):
        return bundle.name
    if not isinstance(bundle, BundleOptions):
        return str(bundle)
    dtypes = " and ".join(dict.fromkeys(bundle.precision.values()))
    return " in ".join(filter(None, [bundle.variant, dtypes])) or str(bundle.name)

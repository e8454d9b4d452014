"""Record every value of a run, for others to be compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from composer.comparison.candidate import run_on
from composer.comparison.decoder_steps import with_steps
from composer.comparison.dump import Dump, Stage, joined
from composer.comparison.tap import tap, with_floor
from composer.core.errors import ComposerError, Problem
from composer.formats.audio.reading import Source
from composer.graph.graph import Graph
from composer.jobs.bundle import AnyBundle, Options, open_bundle
from composer.jobs.progress import JobProgress, OnProgress, no_progress
from composer.jobs.speech import audio_input
from composer.jobs.transcribe import expand_folders
from composer.runtime.bundle import Bundle
from composer.runtime.inputs import read_inputs
from composer.runtime.opening import BundleOptions


def record(
    bundle: AnyBundle,
    inputs: Mapping[str, Any],
    *,
    clips: Sequence[Source] = (),
    task: str | None = None,
    options: Options | None = None,
    floor: AnyBundle | None = None,
    progress: OnProgress = no_progress,
) -> Dump:
    """Run a task once and return every named value, in graph order, with what made them.

    `inputs` are those of the task by name; with `clips` the task is run once for each, as its one
    audio input. `options` override options by node. Of a decoder that can replay its steps there
    are the logits before each token too. `.stages` are the values of the first clip with their
    axes and true dtypes, `.clips` the dumps of all; `.pack()` is a .safetensors file, which
    `read_dump` reads.

    With `floor` the same inputs are run once more by it - the bundle in another precision, or on
    another backend - and what it gives is kept as each stage's noise, which `compare` allows.
    Where `bundle` is a name or options, it is closed before the other is loaded. `progress` is
    called with the stages "fetching" and "running".

    Raise ComposerError where the bundle is refused, does not load or does not run (any code), where
    inputs, clips or options are wrong (R540 to R544), where the audio is split (R549), where the
    floor makes no difference (R546), or one that is no noise (R559).
    """
    with open_bundle(bundle) as ready:
        name = ready.task(task)
        graph = ready.checked.graphs[name]
        clips = expand_folders(clips)
        runs = [read_inputs(graph, each) for each in _inputs_by_clip(graph, inputs, clips)]
        progress(JobProgress("fetching", ready.name))
        dumps = []
        with with_step_logits(ready, name):
            for at, values in enumerate(runs):
                progress(JobProgress("running", ready.name, at, len(runs)))
                dumps.append(_named(tap(ready, name, values, options or {}), clips, at))
    _require_distinct(dumps)
    dump = joined(dumps)
    return (
        add_noise_floor(dump, floor, task=task, options=options, progress=progress)
        if floor
        else dump
    )


def _inputs_by_clip(
    graph: Graph, inputs: Mapping[str, Any], clips: Sequence[Source]
) -> list[Mapping[str, Any]]:
    """Return the inputs of each run; raise R540 where the clips' own input is given too."""
    if not clips:
        return [inputs]
    audio = audio_input(graph)
    if audio in inputs:
        message = f"'{audio}' is each clip in turn: name the clips as arguments, not as an input"
        raise ComposerError(Problem("R540", message))
    return [{**inputs, audio: clip} for clip in clips]


def _require_distinct(dumps: Sequence[Dump]) -> None:
    """Raise R540 for a clip that is given twice: over copies no noise averages out."""
    known: dict[str, str] = {}
    for dump in dumps:
        digests = str(dump.about["digests"])
        if digests in known:
            message = f"{dump.name} is the same clip as {known[digests]}"
            raise ComposerError(Problem("R540", message, hint="give each clip once"))
        known[digests] = dump.name


def _named(dump: Dump, clips: Sequence[Source], at: int) -> Dump:
    """Return a clip's dump with the clip's name: that of its file, else its place."""
    if not clips:
        return dump
    clip = clips[at]
    name = Path(clip).name if isinstance(clip, str | Path) else f"clip {at + 1}"
    return replace(dump, about={**dump.about, "clip": name})


def add_noise_floor(
    dump: Dump,
    floor: AnyBundle,
    *,
    task: str | None = None,
    options: Options | None = None,
    progress: OnProgress = no_progress,
) -> Dump:
    """Return a dump with the noise of each stage: what another run of its inputs gives.

    Raise ComposerError as `record` does.
    """
    with open_bundle(floor) as other:
        name = other.task(task)
        progress(JobProgress("fetching", other.name))
        with with_step_logits(other, name):
            clips = []
            for at, clip in enumerate(dump.clips):
                progress(JobProgress("running", other.name, at, len(dump.clips)))
                clips.append(_with_noise(clip, other, name, options or {}))
    found = joined(clips)
    if not any(map(_has_noise, clips)):
        message = f"{_title(floor)} changes nothing here: no noise was measured"
        raise ComposerError(Problem("R546", message, hint="take another precision or variant"))
    return found


def _with_noise(clip: Dump, other: Bundle, task: str, options: Options) -> Dump:
    """Return a clip's dump with what another bundle makes of its inputs, and its nodes alone."""
    found = run_on(clip, other, task, options)
    if found.failure:
        raise found.failure
    own = {name: each for name, each in found.stages.items() if isinstance(each, Stage)}
    alone = {name: each.value for name, each in found.alone.items() if isinstance(each, Stage)}
    floored = with_floor(clip, Dump(own, found.about), alone)
    for name, stage in floored.stages.items():
        if stage.floor and not stage.floor.plausible:
            message = f"the noise of '{name}' is {stage.floor.largest:.2g} of its values"
            hint = "take a precision or variant nearer to the bundle's own"
            raise ComposerError(Problem("R559", f"{message}: that is another model", hint=hint))
    return floored


def _has_noise(clip: Dump) -> bool:
    return any(stage.floor and stage.floor.l2 for stage in clip.stages.values())


def with_precision(options: BundleOptions, dtype: str) -> BundleOptions:
    """Return a bundle with every component in one dtype that can be in it.

    Where none can, all are, and opening it says why not.
    """
    with options.open() as ready:
        known = ready.checked.components
        names = [name for name, each in known.items() if "precision" in each.cls.accepts]
    able = [name for name in names if _takes_dtype(options, name, dtype)]
    return replace(options, precision=dict.fromkeys(able or names, dtype))


def _takes_dtype(options: BundleOptions, name: str, dtype: str) -> bool:
    """Return whether a component can be in a dtype, which an exported file often cannot."""
    try:
        with replace(options, precision={name: dtype}).open():
            return True
    except ComposerError:
        return False


def replay_graph(bundle: Bundle, task: str | None) -> Graph:
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


def _title(bundle: AnyBundle) -> str:
    """Return what makes a bundle another one: its variant and precisions, else its name."""
    if isinstance(bundle, Bundle):
        return bundle.name
    if not isinstance(bundle, BundleOptions):
        return str(bundle)
    dtypes = " and ".join(dict.fromkeys(map(str, bundle.precision.values())))
    return " in ".join(filter(None, [bundle.variant, dtypes])) or str(bundle.name)

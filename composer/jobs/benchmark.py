"""Measure how fast bundles start and run, and how much memory they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composer.benchmarking.benchmark_child import BenchmarkCase
from composer.benchmarking.measure import BundleTimings, RunCounts, measure
from composer.benchmarking.process import RunTiming, StartTiming
from composer.comparison.dump import digest
from composer.formats.audio.clip import Clip
from composer.formats.audio.suffixes import is_clip
from composer.formats.audio.waveform import Audio
from composer.graph.graph import Graph
from composer.jobs.bundle import Options, as_bundle_options
from composer.jobs.progress import JobProgress, OnProgress, no_progress
from composer.jobs.speech import speech_graph
from composer.runtime.bundle import Bundle
from composer.runtime.inputs import read_inputs
from composer.runtime.opening import BundleOptions
from composer.runtime.options import check_options
from composer.runtime.provenance import describe_run

CLIPS = "clips"


@dataclass(frozen=True)
class Benchmark:
    """What was measured of one bundle, or of two in turns, and what made each.

    `measured[0].figures()` are lists of values by name: seconds, but `tokens/s`, `real-time factor`
    (wall time over audio) and bytes of `peak`.
    """

    measured: tuple[BundleTimings, ...]
    turns: RunCounts
    made_by: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class _Prepared:
    case: BenchmarkCase
    seconds_of_audio: float
    made_by: Mapping[str, Any]


def benchmark(
    bundle: str | Path | BundleOptions,
    *,
    other: str | Path | BundleOptions | None = None,
    inputs: Mapping[str, Any] | None = None,
    other_inputs: Mapping[str, Any] | None = None,
    task: str | None = None,
    options: Options | None = None,
    turns: RunCounts | None = None,
    progress: OnProgress = no_progress,
) -> Benchmark:
    """Start and run a bundle again and again, in processes of its own, and time each part.

    `inputs` are those of the task by name; an audio that is not among them is the first of the
    bundle's own clips. `options` override options by node. `turns` says how many starts and runs
    count, and how many go before; 3, 10 and 1 without it. With `other` both bundles start and run
    in turns; it is given `other_inputs`, or the same inputs. `progress` is called with the stages
    "checking", and "measuring" after each start and run.

    Raise ComposerError where a bundle is refused or does not run (any code), where the call is
    wrong (R540 to R544), or where a process ends early (R586).
    """
    turns = turns or RunCounts()
    first = as_bundle_options(bundle)
    progress(JobProgress("checking", str(first.name)))
    with first.open() as opened:
        graph = speech_graph(opened, task)
        given = {**bundled_clips(opened, graph, inputs or {}), **(inputs or {})}
        prepared = [_prepare(first, opened, graph, given, options or {})]
    if other is not None:
        second = as_bundle_options(other)
        progress(JobProgress("checking", str(second.name)))
        with second.open() as opened:
            graph = speech_graph(opened, task if task in opened.tasks else None)
            theirs = given if other_inputs is None else other_inputs
            prepared.append(_prepare(second, opened, graph, theirs, options or {}))
    measured, made_by = [], []
    times = _measure(prepared, turns, progress)
    for each, (starts, runs) in zip(prepared, times, strict=True):
        measured.append(BundleTimings(each.case.bundle.title, starts, runs, each.seconds_of_audio))
        made_by.append(each.made_by)
    return Benchmark(tuple(measured), turns, tuple(made_by))


def bundled_clips(bundle: Bundle, graph: Graph, inputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the bundle's first clip for each audio that is not given, if it comes with clips."""
    folder = bundle.checked.manifest.folder / CLIPS
    clips = sorted(filter(is_clip, folder.glob("*")))
    if not clips:
        return {}
    clip, here = clips[0], Path.cwd()
    if clip.is_relative_to(here):
        clip = clip.relative_to(here)
    found = {}
    for name, entry in graph.inputs.items():
        if entry.type == "audio" and name not in inputs:
            found[name] = str(clip)
    return found


def _prepare(
    options: BundleOptions, bundle: Bundle, graph: Graph, inputs: Mapping[str, Any], set: Options
) -> _Prepared:
    """Check what a bundle is given, fetch its files, and return what a process needs to run it."""
    values = read_inputs(graph, inputs)
    check_options(bundle.checked, graph, set)
    bundle.fetch(graph.task)
    digests, seconds = {}, 0.0
    for name, value in values.items():
        if isinstance(value, Audio):
            digests[name] = digest(value)
            seconds += value.seconds
    plain = {name: value for name, value in inputs.items() if name not in digests}
    made_by = describe_run(bundle, graph.task, plain, set)
    for name, value in inputs.items():
        if isinstance(value, str | Path | Clip):
            made_by["inputs"][name] = str(value)
    made_by["digests"] = digests
    return _Prepared(BenchmarkCase(options, graph.task, inputs, set), seconds, made_by)


def _measure(
    prepared: list[_Prepared], turns: RunCounts, progress: OnProgress
) -> list[tuple[list[StartTiming], list[RunTiming]]]:
    total, done = turns.total * len(prepared), 0
    name = str(prepared[0].case.bundle.name)

    def advance() -> None:
        nonlocal done
        done += 1
        progress(JobProgress("measuring", name, done, total))

    progress(JobProgress("measuring", name, 0, total))
    return measure([each.case for each in prepared], turns, advance)

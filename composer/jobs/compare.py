"""Compare a bundle, or a dump, with a reference, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from composer.comparison.compare import Comparison, against_bundle, against_dump
from composer.comparison.dump import Dump, read_dump
from composer.comparison.gates import Tolerance
from composer.comparison.judge import StageJudge
from composer.core.errors import ComposerError, Problem
from composer.core.suggest import with_nearest
from composer.formats.audio.reading import Source
from composer.jobs.bundle import AnyBundle, Options, open_bundle
from composer.jobs.progress import JobProgress, OnProgress, no_progress
from composer.jobs.record import record, with_step_logits
from composer.runtime.options import check_options

SUFFIX = ".safetensors"


def compare(
    reference: Dump | AnyBundle,
    candidate: Dump | AnyBundle,
    *,
    inputs: Mapping[str, Any] | None = None,
    clips: Sequence[Source] = (),
    task: str | None = None,
    options: Options | None = None,
    tolerance: float | None = None,
    any_float: bool = False,
    skip: Sequence[str] = (),
    progress: OnProgress = no_progress,
) -> Comparison:
    """Compare a bundle, or a dump, with a reference at every stage of the graph.

    Either is a dump, the path of one (*.safetensors), or a bundle. A reference that is a bundle is
    run on `inputs` first, once for each of `clips`; a dump contains its own. A candidate that is a
    bundle is run on the reference's inputs, once as a whole and once node by node on the
    reference's values, so that the first wrong stage is found. `options` override options by node,
    in both.

    `tolerance` is the relative error allowed at every stage, from 0 to below 1. Without it a stage
    may be off by rounding where both sides came about alike: on the same backend, in the same
    precision, by the same versions on the same machine. Otherwise its noise floor says how far, and
    what is systematic over all clips is a fault too; without a floor it is 1e-4. `any_float` lets
    floats be of another width. `skip` are patterns of stages to leave out.

    `.ok` is whether all stages are the same, `.first` is the first that is wrong by itself,
    `.rows` are all. `progress` is called with the stages of `record`, and "comparing".

    Raise ComposerError where a bundle is refused or does not load (any code), where the call is
    wrong (R540 to R544), or where a file is no dump (R548).
    """
    gate = make_stage_judge(tolerance, any_float)
    wanted, found = _as_dump(reference), _as_dump(candidate)
    _check_call(wanted, found, bool(inputs or clips), task, options)
    if not isinstance(wanted, Dump):
        wanted = record(
            wanted, inputs or {}, clips=clips, task=task, options=options, progress=progress
        )
    if isinstance(found, Dump):
        comparison = against_dump(wanted, found, gate, skip)
    else:
        comparison = _with_bundle(wanted, found, task, options, gate, skip, progress)
    _require_stages(comparison, skip)
    return comparison


def _as_dump(given: Dump | AnyBundle) -> Dump | AnyBundle:
    """Return the dump that a path names, and anything else as it is."""
    if isinstance(given, str | Path) and str(given).endswith(SUFFIX):
        return read_dump(Path(given))
    return given


def make_stage_judge(tolerance: float | None, any_float: bool) -> StageJudge:
    """Return how strictly stages are compared; raise R542 for a tolerance that is none."""
    if tolerance is None:
        return StageJudge(None, any_float)
    if not 0 <= tolerance < 1:
        what = f"--tolerance {tolerance:g} is not from 0 to below 1"
        raise ComposerError(Problem("R542", f"{what}, where a stage of zeros would pass"))
    return StageJudge(Tolerance.scaled(tolerance), any_float)


def matching_task(reference: Dump, tasks: Sequence[str]) -> str | None:
    """Return the task that made the reference, where there is one of that name."""
    task = reference.about.get("task")
    if task not in tasks:
        return None
    return task


def _with_bundle(
    reference: Dump,
    candidate: AnyBundle,
    task: str | None,
    options: Options | None,
    gate: StageJudge,
    skip: Sequence[str],
    progress: OnProgress,
) -> Comparison:
    with open_bundle(candidate) as bundle:
        name = bundle.task(task or matching_task(reference, bundle.tasks))
        progress(JobProgress("fetching", bundle.name))
        with with_step_logits(bundle, name):
            check_options(bundle.checked, bundle.checked.graphs[name], options or {})
            progress(JobProgress("comparing", bundle.name))
            return against_bundle(reference, bundle, name, gate, skip, options)


def _check_call(
    reference: Dump | AnyBundle,
    candidate: Dump | AnyBundle,
    inputs: bool,
    task: str | None,
    options: Options | None,
) -> None:
    """Raise R540 or R544 for what nothing would read."""
    if isinstance(reference, Dump) and inputs:
        raise ComposerError(
            Problem("R540", "the reference is a dump, which has its inputs", hint="give no inputs")
        )
    if isinstance(reference, Dump) and isinstance(candidate, Dump):
        _check_same_clips(reference, candidate)
    if isinstance(reference, Dump) and isinstance(candidate, Dump) and (task or options):
        message = "both are dumps, and nothing is run"
        raise ComposerError(Problem("R544", message, hint="give no task and no options"))


def _check_same_clips(reference: Dump, candidate: Dump) -> None:
    """Raise R544 for dumps of another number of clips."""
    expected, actual = len(reference.clips), len(candidate.clips)
    if expected != actual:
        message = f"the reference has {expected} clips, and the other dump {actual}"
        raise ComposerError(Problem("R544", message, hint="tap both with the same clips"))


def _require_stages(found: Comparison, skip: Sequence[str]) -> None:
    """Raise R544 for a pattern that leaves nothing out."""
    for pattern in skip:
        if not any(fnmatchcase(name, pattern) for name in found.skipped):
            message = f"--skip {pattern} matches no stage"
            message = with_nearest(message, pattern, (row.name for row in found.rows))
            raise ComposerError(Problem("R544", message))

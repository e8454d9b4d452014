"""Write a bundle anew with its weights quantized."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from composer.core.errors import ComposerError, Problem
from composer.core.new_folder import new_folder, require_new
from composer.core.suggest import listed
from composer.core.weight_group import WeightGroup
from composer.graph.checked import Checked
from composer.jobs.calibration import Calibration, calibrated_packings
from composer.jobs.lock import lock
from composer.jobs.progress import JobProgress, OnProgress, no_progress
from composer.manifest.precision_request import PrecisionRequest
from composer.quantization.bundle import plan_bundle, write_quantized_bundle
from composer.quantization.checkpoint import SHARD
from composer.runtime.opening import BundleOptions


@dataclass(frozen=True)
class QuantizeResult:
    """A bundle that was written: its manifest, and each quantized component's weights.

    `read` are the bytes of the checkpoints that were read, `nbytes` those of the new bundle.
    `left_out` are its variants, `notes` what there is to warn of.
    """

    path: Path
    weights: Mapping[str, tuple[WeightGroup, ...]]
    read: int
    nbytes: int
    left_out: tuple[str, ...]
    notes: tuple[Problem, ...]


def quantize(
    bundle: str | Path | BundleOptions,
    folder: str | Path,
    *,
    precision: Mapping[str, PrecisionRequest] | None = None,
    calibration: Calibration | None = None,
    shard: int = SHARD,
    force: bool = False,
    progress: OnProgress = no_progress,
) -> QuantizeResult:
    """Write a bundle into a new folder, with the weights of some components quantized.

    `precision` has recipes by component, over those of the manifest. The new bundle is complete:
    manifest, weights, lock, and `quantization.json`, which says of each tensor where it comes
    from. A decoder's folder is also one of mlx-lm. Weights are read and written in pieces, into
    files of at most `shard` bytes. Components without a recipe are copied, variants are left out.
    With a `calibration` the bundle runs as it is stored, and what its modules see decides how they
    are packed. `progress` is called with the stages "checking" and "quantizing".

    Raise ComposerError where the bundle is refused (any code), where a component has no recipe or
    cannot be written with one (R597), or where the folder is there or cannot be written (R507).
    """
    target = Path(folder)
    require_new(target, force)
    options = bundle if isinstance(bundle, BundleOptions) else BundleOptions(bundle)
    asked = {**options.precision, **(precision or {})}
    progress(JobProgress("checking", str(options.name)))
    with ExitStack() as stack:
        ready = stack.enter_context(replace(options, precision=asked).open())
        ready.fetch()
        checked = ready.checked
        _require_recipes(checked, asked)
        packings, described = {}, None
        if calibration:
            packings = stack.enter_context(calibrated_packings(options, checked, calibration))
            described = calibration.described(packings)
        planned = plan_bundle(checked, shard, packings)
        count = 0

        def done() -> None:
            nonlocal count
            count += 1
            progress(JobProgress("quantizing", target.name, count, planned.steps))

        with new_folder(target, force) as part:
            weights = write_quantized_bundle(planned, target, part, done, described)
            lock(part)
            size = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
        facts = [checked.components[name].facts for name in planned.recipes]
        return QuantizeResult(
            target / "bundle.yaml",
            weights,
            planned.read,
            size,
            checked.manifest.variants,
            tuple(note for each in facts if each for note in each.notes),
        )


def _require_recipes(checked: Checked, asked: Mapping[str, PrecisionRequest]) -> None:
    """Refuse a call that quantizes nothing, or that names what is not written quantized."""
    able = [name for name, k in checked.components.items() if k.facts and k.facts.packing]
    problems = []
    for name in asked:
        known = checked.components[name]
        if name not in able and known.spec.recipe is not None:
            message = f"{name} is {known.cls.name}, which is not written quantized"
            problems.append(Problem("R597", message))
        elif name not in able:
            message = f"{name} is asked for in no recipe: {known.spec.precision}"
            hint = f"name one, as in --precision {name}=mixed-8-4"
            problems.append(Problem("R597", message, hint=hint))
    if not problems and not able:
        takes = [n for n, k in checked.components.items() if "precision" in k.cls.accepts]
        hint = f"name one by --precision NAME=RECIPE; components: {listed(takes)}"
        problems.append(Problem("R597", "no component has a recipe", hint=hint))
    if problems:
        raise ComposerError(problems)

"""What the headers of an adapter say, once they agree with its config and its decoder."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isclose
from typing import TYPE_CHECKING

from composer.core.component import Adapter, Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.core.problems import Problems
from composer.core.suggest import listed
from composer.formats.files import raise_missing
from composer.formats.refusal import refuse

from ..embedding_table import describe
from .adapter_config import MLX_LM, RELEASE, AdapterConfig, parse_adapter_config
from .adapter_modules import check_modules
from .adapter_tensors import Fit, split
from .pair import EMBEDDING, Pair, Projection
from .saved_modules import SavedModule, Shapes, check_tying, read_saved_modules

if TYPE_CHECKING:
    from composer.formats import Headers

WEIGHTS = ("adapters.safetensors", "adapter_model.safetensors")


@dataclass(frozen=True)
class AdapterFacts:
    """An adapter before it is loaded: its file, its scale, and the pairs that are used.

    `scales` has the scale of each module by its path: a multiple of the adapter's where its config
    gives a module its own rank or alpha. `files` are all that it was read from; `notes` are lints.
    `saved` are modules that it holds whole.
    """

    weights: Location
    scale: float
    rank: int
    pairs: tuple[Pair, ...]
    scales: Mapping[str, float]
    files: tuple[Location, ...]
    notes: tuple[Problem, ...] = ()
    saved: tuple[SavedModule, ...] = ()

    @property
    def nbytes(self) -> int:
        pairs = sum(pair.nbytes for pair in self.pairs)
        return pairs + sum(module.nbytes for module in self.saved)

    @property
    def paths(self) -> set[str]:
        """The paths of all modules that it adapts."""
        return {pair.path for pair in self.pairs} | {module.path for module in self.saved}


def embedding_adapters(adapters: Mapping[str, AdapterFacts]) -> frozenset[str]:
    """Return the names of those that change the embeddings of ids."""
    return frozenset(name for name, facts in adapters.items() if EMBEDDING in facts.paths)


def read_adapters(
    spec: Spec,
    headers: Headers,
    targets: Mapping[str, Projection],
    unused: Collection[str] = (),
    shapes: Shapes | None = None,
) -> dict[str, AdapterFacts]:
    """Read every adapter of a component; raise ComposerError with the problems of all."""
    found: dict[str, AdapterFacts] = {}
    problems = Problems()
    for name, adapter in spec.adapters.items():
        with problems.collect():
            found[name] = read_adapter(adapter, headers, targets, unused, shapes)
    problems.raise_any()
    return found


def read_adapter(
    adapter: Adapter,
    headers: Headers,
    targets: Mapping[str, Projection],
    unused: Collection[str] = (),
    shapes: Shapes | None = None,
) -> AdapterFacts:
    """Check an adapter against its decoder; raise ComposerError with everything that contradicts.

    `targets` are the decoder's projections by path (layers.3.self_attn.q_proj), `shapes` those of
    all its modules; `unused` are paths of modules that the model lacks and adapters may have.
    """
    file, configs = _files(adapter.weights, headers)
    stated: list[AdapterConfig] = []
    problems = Problems()
    for config in configs:
        with problems.collect():
            stated.append(parse_adapter_config(config, headers.config(config)))
    used = {path: target for path, target in targets.items() if path not in unused}
    fit = Fit(file, used, unused)
    tensors = headers.safetensors(file)
    saved = read_saved_modules(fit, tensors, stated, shapes)
    whole = {tensor.name for module in saved.values() for tensor in module.tensors.values()}
    pairs = fit.pairs(tensors, whole)
    for pair in pairs.values():
        fit.check(pair)
    rank = _rank(fit, pairs, stated)
    _magnitudes(fit, pairs, stated)
    check_tying(fit, {*pairs, *saved}, stated)
    for each in stated:
        check_modules(fit, pairs, each)
    problems += fit.problems()
    scale, odd = _scale(file, adapter.scale, stated)
    if len(stated) == len(configs):
        problems += [each for each in odd if each.severity == "error"]
    kept = tuple(pair for path, pair in pairs.items() if path not in unused)
    if not (kept or saved) and not problems:
        problems.append(Problem("W292", "it adapts nothing of this decoder", Place(str(file))))
    if problems:
        raise ComposerError(problems)
    notes = [*_dropped(file, pairs, kept), *(n for each in stated for n in each.notes), *odd]
    scaling = next((each.scaling for each in stated if each.scaling), None)
    scales = {pair.path: scale * (scaling.ratio(pair.path) if scaling else 1.0) for pair in kept}
    modules = tuple(saved.values())
    return AdapterFacts(file, scale, rank, kept, scales, (file, *configs), tuple(notes), modules)


def _files(place: Location, headers: Headers) -> tuple[Location, tuple[Location, ...]]:
    """Find the tensors and the configs of an adapter, given its folder or its file."""
    if headers.files.kind(place) is None:
        raise_missing(headers.files, place)
    file, folder = place, replace(place, inside=place.inside.rpartition("/")[0])
    if headers.files.kind(place) != "file":
        folder = place
        present = [name for name in WEIGHTS if headers.exists(folder / name)]
        if len(present) != 1:
            has = (
                " and ".join(present)
                or "neither adapters.safetensors nor adapter_model.safetensors"
            )
            refuse(place, "W285", f"it holds {has}", hint="write the path of the adapter's file")
        file = folder / present[0]
    configs = tuple(folder / n for n in (MLX_LM, RELEASE) if headers.exists(folder / n))
    if not configs:
        refuse(
            file,
            "W285",
            f"there is neither {MLX_LM} nor {RELEASE} beside it",
            hint="put the config that training wrote into the same folder",
        )
    return file, configs


def _rank(fit: Fit, pairs: Mapping[str, Pair], stated: list[AdapterConfig]) -> int:
    """Return the rank; report modules of another one, and configs that say another one.

    Modules to which a config gives a rank of their own are compared with that.
    """
    sound = [pair for pair in pairs.values() if pair.ranks[0] == pair.ranks[1]]
    scaling = next((each.scaling for each in stated if each.scaling), None)
    for pair in sound:
        if scaling and (keys := scaling.ambiguous(pair.path)):
            fit.report(
                "W287", f"{listed(keys)} name one module with different numbers: {pair.path}"
            )
            return 0
    own = [pair for pair in sound if scaling and scaling.rank_of(pair.path) != scaling.rank]
    for pair in own:
        assert scaling
        if pair.ranks[0] != scaling.rank_of(pair.path):
            fit.report(
                "W289",
                f"the rank is {pair.ranks[0]}, but rank_pattern says {scaling.rank_of(pair.path)}",
                f"adapter: {describe(pair.a)}",
            )
    usual = [pair for pair in sound if pair not in own]
    if not usual:
        return scaling.rank if scaling else 0
    first, rank = usual[0], usual[0].ranks[0]
    for pair in usual:
        if pair.ranks[0] != rank:
            fit.report(
                "W289",
                f"ranks differ: {rank} and {pair.ranks[0]}",
                f"adapter: {describe(first.a)}",
                f"adapter: {describe(pair.a)}",
            )
    for each in stated:
        for key, value in each.ranks.items():
            if value != rank:
                fit.report(
                    "W289",
                    f"the rank is {rank}, but {each.file} says {value}",
                    f"{rank} comes from {describe(first.a)}",
                    f"{value} comes from {key} in {each.file}",
                )
    return rank


def _magnitudes(fit: Fit, pairs: Mapping[str, Pair], stated: list[AdapterConfig]) -> None:
    """Report modules that have a magnitude where the config says plain LoRA, or lack one."""
    for each in stated:
        for pair in pairs.values():
            if each.dora and not pair.magnitude:
                message = f"{each.file} says DoRA, but there is no magnitude"
                fit.report("W293", message, f"adapter: {describe(pair.a)}")
            elif pair.magnitude and not each.dora:
                message = f"{each.file} says plain LoRA, but there is a magnitude, which is DoRA's"
                fit.report("W293", message, f"adapter: {describe(pair.magnitude)}")


def _scale(
    file: Location, given: float | None, stated: list[AdapterConfig]
) -> tuple[float, list[Problem]]:
    """Return the scale: what the manifest asks for, else what the adapter itself says."""
    own = [(v, f"{key} in {each.file}") for each in stated for key, v in each.scales.items()]
    scale = own[0][0] if own else 0.0
    if given is not None:
        scale = given
    differ = [each for each in own if not isclose(each[0], scale, rel_tol=1e-6)]
    place = Place(str(file))
    causes = tuple(f"{value:g} comes from {witness}" for value, witness in own)
    if given is None and (differ or not own):
        what = "its config says several scales" if own else "its config says no scale"
        hint = "say the one that counts in the manifest: scale: 20.0"
        return scale, [Problem("W294", what, place, causes, hint)]
    if differ:
        what = f"the manifest says scale {scale:g}, which counts; the adapter says {differ[0][0]:g}"
        return scale, [Problem("L329", what, place, causes, severity="warning")]
    return scale, []


def _dropped(
    file: Location, pairs: Mapping[str, Pair], kept: tuple[Pair, ...]
) -> Iterator[Problem]:
    """Count the modules that adapt what the model has not."""
    unused = [pair for pair in pairs.values() if pair not in kept]
    if unused:
        paths = [split(pair.path) for pair in unused]
        yield Problem(
            "L327",
            f"{len(unused)} of {len(pairs)} modules are dropped: the layers {min(paths)[0]} to "
            f"{max(paths)[0]} take keys and values from earlier ones",
            Place(str(file)),
            (f"adapter: {describe(unused[0].a)}",),
            f"they have no {listed(sorted({module for _, module in paths}))} to adapt",
            severity="warning",
        )

"""What the headers of an adapter say, once they agree with its config and its decoder."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.core.component import Adapter, Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.core.problems import Problems
from composer.core.suggest import listed

from ..embedding_table import describe_tensor
from .adapter_files import open_adapter
from .adapter_modules import check_adapted_modules
from .adapter_numbers import check_magnitudes, checked_rank, choose_scale, find_scaling
from .adapter_tensors import AdapterChecker, split_layer
from .pair import EMBEDDING, LinearShape, LoraPair
from .saved_modules import SavedModule, Shapes, check_tying, read_saved_modules
from .scaling import LoraScaling

if TYPE_CHECKING:
    from composer.formats import Headers


@dataclass(frozen=True)
class AdapterFacts:
    """An adapter before it is loaded: where it is, its scale, and the pairs that are used.

    `scales` has the scale of each module by its path: a multiple of the adapter's where its config
    gives a module its own rank or alpha. `files` are all that it was read from; `notes` are lints.
    `saved` are modules that it holds whole.
    """

    scale: float
    rank: int
    pairs: tuple[LoraPair, ...]
    scales: Mapping[str, float]
    files: tuple[Location, ...]
    notes: tuple[Problem, ...] = ()
    saved: tuple[SavedModule, ...] = ()

    @property
    def modules(self) -> tuple[LoraPair | SavedModule, ...]:
        return (*self.pairs, *self.saved)

    @property
    def weights(self) -> tuple[Location, ...]:
        """The files that hold its tensors."""
        found: dict[Location, None] = {}
        for pair in self.pairs:
            found |= dict.fromkeys((pair.a.file, pair.b.file))
        for module in self.saved:
            found |= dict.fromkeys(tensor.file for tensor in module.tensors.values())
        return tuple(found)

    @property
    def nbytes(self) -> int:
        return sum(module.nbytes for module in self.modules)

    @property
    def paths(self) -> set[str]:
        """The paths of all modules that it adapts."""
        return {module.path for module in self.modules}


def embedding_adapters(adapters: Mapping[str, AdapterFacts]) -> frozenset[str]:
    """Return the names of those that change the embeddings of ids."""
    return frozenset(name for name, facts in adapters.items() if EMBEDDING in facts.paths)


def read_adapters(
    spec: Spec,
    headers: Headers,
    targets: Mapping[str, LinearShape],
    unused: Collection[str] = (),
    shapes: Shapes | None = None,
) -> dict[str, AdapterFacts]:
    """Read every adapter of a component; raise ComposerError with the problems of all."""
    found: dict[str, AdapterFacts] = {}
    problems = Problems()
    for name, adapter in spec.adapters.items():
        with problems.collect():
            found[name] = _read_adapter_facts(name, adapter, headers, targets, unused, shapes)
    problems.raise_any()
    return found


def _read_adapter_facts(
    name: str,
    adapter: Adapter,
    headers: Headers,
    targets: Mapping[str, LinearShape],
    unused: Collection[str] = (),
    shapes: Shapes | None = None,
) -> AdapterFacts:
    """Check an adapter against its decoder; raise ComposerError with everything that contradicts.

    `targets` are the decoder's projections by path (layers.3.self_attn.q_proj), `shapes` those of
    all its modules; `unused` are paths of modules that the model lacks and adapters may have.
    """
    problems = Problems()
    opened = open_adapter(name, adapter.weights, headers, problems)
    file, tensors, configs = opened.place, opened.tensors, opened.configs
    sound = not problems
    used = {path: target for path, target in targets.items() if path not in unused}
    checker = AdapterChecker(file, used, unused)
    saved = read_saved_modules(checker, tensors, configs, shapes)
    saved_tensors: set[str] = set()
    for module in saved.values():
        saved_tensors |= module.tensor_names
    pairs = checker.pairs(tensors, saved_tensors)
    for pair in pairs.values():
        checker.check(pair)
    rank = checked_rank(checker, pairs, configs)
    check_magnitudes(checker, pairs, configs)
    check_tying(checker, {*pairs, *saved}, configs)
    for config in configs:
        check_adapted_modules(checker, pairs, config)
    problems += checker.problems()
    scale, scale_problem = choose_scale(file, adapter.scale, configs)
    if sound and scale_problem and scale_problem.severity == "error":
        problems.append(scale_problem)
    kept = tuple(pair for path, pair in pairs.items() if path not in unused)
    if not (kept or saved) and not problems:
        problems.append(Problem("W292", "it adapts nothing of this decoder", Place(str(file))))
    if problems:
        raise ComposerError(problems)
    notes = list(_dropped(file, pairs, kept))
    for config in configs:
        notes += config.notes
    if scale_problem:
        notes.append(scale_problem)
    return AdapterFacts(
        scale,
        rank,
        kept,
        _scale_modules(scale, kept, find_scaling(configs)),
        opened.files,
        tuple(notes),
        tuple(saved.values()),
    )


def _scale_modules(
    scale: float, pairs: tuple[LoraPair, ...], scaling: LoraScaling | None
) -> dict[str, float]:
    """Return the scale of each module by its path."""
    if scaling is None:
        return dict.fromkeys((pair.path for pair in pairs), scale)
    return {pair.path: scale * scaling.ratio(pair.path) for pair in pairs}


def _dropped(
    file: Location, pairs: Mapping[str, LoraPair], kept: tuple[LoraPair, ...]
) -> Iterator[Problem]:
    """Count the modules that adapt what the model has not."""
    unused = [pair for pair in pairs.values() if pair not in kept]
    if not unused:
        return
    layers, modules = zip(*(split_layer(pair.path) for pair in unused), strict=True)
    yield Problem(
        "L327",
        f"{len(unused)} of {len(pairs)} modules are dropped: the layers {min(layers)} to "
        f"{max(layers)} take keys and values from earlier ones",
        Place(str(file)),
        (f"adapter: {describe_tensor(unused[0].a)}",),
        f"they have no {listed(sorted(set(modules)))} to adapt",
        severity="warning",
    )

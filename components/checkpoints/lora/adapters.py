"""What the headers of an adapter say, once they agree with its config and its decoder."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from composer.core.component import Adapter, Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.core.problems import Problems
from composer.core.suggest import listed

from ..embedding_table import describe_tensor
from .adapter_config import AdapterConfig
from .adapter_files import open_adapter
from .adapter_modules import check_adapted_modules
from .adapter_numbers import check_magnitudes, checked_rank, choose_scale, find_scaling
from .adapter_tensors import AdapterChecker, split_layer
from .blocks import BLOCKS, with_blocks
from .config_values import FAN_IN, REASONS
from .pair import EMBEDDING, LinearShape, LoraPair
from .saved_modules import SavedModule, Shapes, check_tying, read_saved_modules
from .scaling import LoraScaling
from .thinker import ROOT, own_tensors

if TYPE_CHECKING:
    from composer.formats import Headers


@dataclass(frozen=True)
class AdapterFacts:
    """An adapter before it is loaded: where it is, its scale, and the pairs that are used.

    Each pair has its scale: a multiple of the adapter's where its config gives a module its own
    rank or alpha, or blocks of a rank theirs. `files` are all that it was read from; `notes` are
    lints. `saved` are modules that it holds whole.
    """

    scale: float
    rank: int
    pairs: tuple[LoraPair, ...]
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
    part: str = "decoder",
) -> dict[str, AdapterFacts]:
    """Read every adapter of a component; raise ComposerError with the problems of all.

    `targets` are its projections by path (layers.3.self_attn.q_proj), `shapes` those of all its
    modules; `unused` are paths of modules that the model lacks and adapters may have. `part` is
    decoder or encoder: of an adapter of a whole model each takes its own.
    """
    found: dict[str, AdapterFacts] = {}
    problems = Problems()
    for name, adapter in spec.adapters.items():
        reader = _AdapterReader(name, adapter, headers, targets, unused, shapes, part)
        with problems.collect():
            found[name] = reader.facts()
    problems.raise_any()
    return found


@dataclass
class _AdapterReader:
    """Check one adapter against its component; what is read is what `read_adapters` takes."""

    name: str
    adapter: Adapter
    headers: Headers
    targets: Mapping[str, LinearShape]
    unused: Collection[str]
    shapes: Shapes | None
    part: str

    def facts(self) -> AdapterFacts:
        """Return what it says; raise ComposerError with everything that contradicts."""
        problems = Problems()
        opened = open_adapter(self.name, self.adapter.weights, self.headers, problems)
        file, configs = opened.place, opened.configs
        all_read = not problems
        used = {path: each for path, each in self.targets.items() if path not in self.unused}
        checker = AdapterChecker(file, used, self.unused, self.part)
        tensors = own_tensors(opened.tensors, self.part != "decoder")
        saved = read_saved_modules(checker, tensors, configs, self.shapes)
        saved_tensors: set[str] = set()
        for module in saved.values():
            saved_tensors |= module.tensor_names
        pairs = checker.pairs(tensors, saved_tensors)
        whole = any(pair.source.startswith(ROOT) for pair in pairs.values())
        problems += _turned_over(configs, whole)
        if whole and any(config.transposed for config in configs):
            pairs = {key: replace(pair, transposed=True) for key, pair in pairs.items()}
        pairs, block_files = self._with_blocks(checker, file, pairs)
        for pair in pairs.values():
            checker.check(pair)
        rank = checked_rank(checker, pairs, configs)
        check_magnitudes(checker, pairs, configs)
        check_tying(checker, {pair.path for pair in pairs.values()} | saved.keys(), configs)
        for config in configs:
            if not whole:  # its names are those of all parts
                check_adapted_modules(checker, pairs, config)
        problems += checker.problems()
        scale, scale_problem = choose_scale(file, self.adapter.scale, configs)
        if all_read and scale_problem and scale_problem.severity == "error":
            problems.append(scale_problem)
        kept = tuple(pair for pair in pairs.values() if pair.path not in self.unused)
        if not (kept or saved) and not problems:
            what = f"it adapts nothing of this {self.part}"
            problems.append(Problem("W292", what, Place(str(file))))
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
            tuple(_scaled(scale, kept, find_scaling(configs))),
            (*opened.files, *block_files),
            tuple(notes),
            tuple(saved.values()),
        )

    def _with_blocks(
        self, checker: AdapterChecker, file: Location, pairs: dict[str, LoraPair]
    ) -> tuple[dict[str, LoraPair], tuple[Location, ...]]:
        """Return the pairs with the blocks of their ranks, where a file beside them has any."""
        blocks = replace(file, inside=file.inside.rpartition("/")[0]) / BLOCKS
        if not self.headers.exists(blocks):
            return pairs, ()
        values = self.headers.config(blocks)
        return with_blocks(checker, blocks, values, pairs, self.part != "decoder"), (blocks,)


def _turned_over(configs: Sequence[AdapterConfig], whole: bool) -> Iterator[Problem]:
    """Refuse `fan_in_fan_out` of all but Mega-ASR, which turns the update of each module over.

    PEFT does so for weights that are [in, out] alone, which no checkpoint here has.
    """
    for config in configs:
        if config.transposed and not whole:
            message = f"{FAN_IN} is 'True': {REASONS[FAN_IN]}"
            yield Problem("W286", message, Place(str(config.file)))


def _scaled(
    scale: float, pairs: tuple[LoraPair, ...], scaling: LoraScaling | None
) -> Iterator[LoraPair]:
    """Yield pairs with their scales; those of blocks are as multiples of the config's own."""
    for pair in pairs:
        ratio = scaling.ratio(pair) if scaling else 1.0
        factor = scale / scaling.usual if scaling else 1.0
        blocks = tuple(factor * each for each in pair.blocks)
        yield replace(pair, scale=scale * ratio, blocks=blocks)


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

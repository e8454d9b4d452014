"""Compare the ranks, the magnitudes and the scale of an adapter with what its configs say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose

from composer.core.errors import Place, Problem
from composer.core.location import Location
from composer.core.suggest import listed

from ..embedding_table import describe_tensor
from .adapter_config import AdapterConfig
from .adapter_tensors import AdapterChecker
from .pair import LoraPair
from .scaling import LoraScaling


def find_scaling(configs: Sequence[AdapterConfig]) -> LoraScaling | None:
    """Return the ranks and scales of single modules that a config states, if one does."""
    for config in configs:
        if config.scaling:
            return config.scaling
    return None


def checked_rank(
    checker: AdapterChecker, pairs: Mapping[str, LoraPair], configs: Sequence[AdapterConfig]
) -> int:
    """Return the rank; report modules of another one, and configs that say another one.

    Modules to which a config gives a rank of their own are compared with that.
    """
    sound = []
    for pair in pairs.values():
        if pair.ranks[0] == pair.ranks[1] and not pair.blocks:
            sound.append(pair)
    scaling = find_scaling(configs)
    if scaling:
        if _report_ambiguous(checker, sound, scaling):
            return 0
        sound = _check_own_ranks(checker, sound, scaling)
    if not sound:
        return scaling.rank if scaling else 0
    first, rank = sound[0], sound[0].ranks[0]
    for pair in sound:
        if pair.ranks[0] != rank:
            checker.report(
                "W289",
                f"ranks differ: {rank} and {pair.ranks[0]}",
                f"adapter: {describe_tensor(first.a)}",
                f"adapter: {describe_tensor(pair.a)}",
            )
    for config in configs:
        for key, value in config.ranks.items():
            if value != rank:
                checker.report(
                    "W289",
                    f"the rank is {rank}, but {config.file} says {value}",
                    f"{rank} comes from {describe_tensor(first.a)}",
                    f"{value} comes from {key} in {config.file}",
                )
    return rank


def _report_ambiguous(
    checker: AdapterChecker, pairs: Sequence[LoraPair], scaling: LoraScaling
) -> bool:
    """Report the first module that several keys of a pattern give different numbers."""
    for pair in pairs:
        if keys := scaling.ambiguous(pair):
            message = f"{listed(keys)} name one module with different numbers: {pair.path}"
            checker.report("W287", message)
            return True
    return False


def _check_own_ranks(
    checker: AdapterChecker, pairs: Sequence[LoraPair], scaling: LoraScaling
) -> list[LoraPair]:
    """Report modules of another rank than their own, and return those that have none."""
    others = []
    for pair in pairs:
        own = scaling.rank_of(pair)
        if own == scaling.rank:
            others.append(pair)
        elif pair.ranks[0] != own:
            checker.report(
                "W289",
                f"the rank is {pair.ranks[0]}, but rank_pattern says {own}",
                f"adapter: {describe_tensor(pair.a)}",
            )
    return others


def check_magnitudes(
    checker: AdapterChecker, pairs: Mapping[str, LoraPair], configs: Sequence[AdapterConfig]
) -> None:
    """Report modules that have a magnitude where the config says plain LoRA, or lack one."""
    for config in configs:
        for pair in pairs.values():
            if config.dora and not pair.magnitude:
                message = f"{config.file} says DoRA, but there is no magnitude"
                checker.report("W293", message, f"adapter: {describe_tensor(pair.a)}")
            elif pair.magnitude and not config.dora:
                message = (
                    f"{config.file} says plain LoRA, but there is a magnitude, which is DoRA's"
                )
                checker.report("W293", message, f"adapter: {describe_tensor(pair.magnitude)}")


def choose_scale(
    file: Location, given: float | None, configs: Sequence[AdapterConfig]
) -> tuple[float, Problem | None]:
    """Return the scale that the manifest gives, else the adapter's own, and what contradicts it."""
    stated, causes = [], []
    for config in configs:
        for key, value in config.scales.items():
            stated.append(value)
            causes.append(f"{value:g} comes from {key} in {config.file}")
    scale = given
    if scale is None:
        scale = stated[0] if stated else 0.0
    differing = [value for value in stated if not isclose(value, scale, rel_tol=1e-6)]
    place = Place(str(file))
    if given is None and (differing or not stated):
        message = "its config says several scales" if stated else "its config says no scale"
        hint = "say the one that counts in the manifest: scale: 20.0"
        return scale, Problem("W294", message, place, tuple(causes), hint)
    if differing:
        message = (
            f"the manifest says scale {scale:g}, which counts; the adapter says {differing[0]:g}"
        )
        return scale, Problem("L329", message, place, tuple(causes), severity="warning")
    return scale, None

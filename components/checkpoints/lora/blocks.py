"""Blocks of a module's rank, each with a scale of its own: Mega-ASR's mega_lora_blocks.json.

An adapter that several were merged into has the rank of all. Rows start to end - 1 of A, and these
columns of B, are the update of one, times alpha / rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from composer.core.location import Location
from composer.core.suggest import some
from composer.formats.file_problems import show

from .adapter_tensors import AdapterChecker
from .pair import LoraPair
from .thinker import TOWER, names_of

BLOCKS = "mega_lora_blocks.json"
KEYS = {"start", "end", "rank", "alpha"}


@dataclass(frozen=True)
class LoraBlock:
    """Where a block of the rank begins and ends, and what its update is multiplied by."""

    start: int
    end: int
    scale: float


def with_blocks(
    checker: AdapterChecker,
    file: Location,
    values: Mapping[str, Any],
    pairs: Mapping[str, LoraPair],
    tower: bool,
) -> dict[str, LoraPair]:
    """Return pairs with the scales of their blocks, and report what the file says wrong."""
    found, read = {}, set()
    for key, pair in pairs.items():
        found[key] = pair
        for name in names_of(pair.source):
            if name in values:
                read.add(name)
                scales = _scales(checker, f"{file}: {show(name)}", values[name], pair)
                found[key] = replace(pair, blocks=scales)
                break
    left = [name for name in values if name.startswith(TOWER) is tower and name not in read]
    if left:
        checker.report("W292", f"{file} has blocks of modules that are not there: {some(left)}")
    return found


def _scales(checker: AdapterChecker, where: str, value: Any, pair: LoraPair) -> tuple[float, ...]:
    """Return the scale of each row of A; report blocks that are none, or are not all of them."""
    rank = pair.ranks[0]
    if not isinstance(value, list) or not 0 < len(value) <= rank:
        checker.report("W287", f"{where} is no list of 1 to {rank} blocks")
        return ()
    blocks = list(_blocks(value))
    if len(blocks) < len(value):
        checker.report(
            "W287",
            f"{where} has a block that is not {{start, end, rank, alpha}} in whole numbers, the "
            "last two above 0",
        )
        return ()
    scales, at = np.zeros(rank), 0
    for block in sorted(blocks, key=lambda block: block.start):
        if block.start != at or not block.start < block.end <= rank:
            checker.report(
                "W289",
                f"{where} has a block from {block.start} to {block.end} where one from {at} is "
                f"wanted, within a rank of {rank}",
            )
            return ()
        scales[block.start : block.end] = block.scale
        at = block.end
    if at != rank:
        checker.report("W289", f"{where} has blocks up to {at}, and the rank is {rank}")
        return ()
    return tuple(scales.tolist())


def _blocks(values: list[Any]) -> Iterator[LoraBlock]:
    """Yield the blocks that are sound; the rank is its length and alpha its rank unless stated."""
    for value in values:
        if not isinstance(value, dict) or not {"start", "end"} <= value.keys() <= KEYS:
            continue
        if any(type(each) is not int or not -1 < each < 2**31 for each in value.values()):
            continue
        rank = value.get("rank", value["end"] - value["start"])
        alpha = value.get("alpha", rank)
        if rank > 0 and alpha > 0:
            yield LoraBlock(value["start"], value["end"], alpha / rank)

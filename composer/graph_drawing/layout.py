"""Lay out boxes and arrows in layers from top to bottom, after Sugiyama's method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

GAP, LANE, RISE = 36.0, 14.0, 64.0
SWEEPS = 12

Point = tuple[float, float]
Edge = tuple[str, str]


@dataclass(frozen=True)
class Layout:
    """Each box's centre, each arrow's points from its start to its end, and the whole extent."""

    centres: Mapping[str, Point]
    paths: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def lay_out(sizes: Mapping[str, Point], edges: Sequence[Edge], rise: float = RISE) -> Layout:
    """Place boxes of the given (width, height), named in an order that the edges follow.

    `rise` is the room between two layers.
    """
    layers = _layers(sizes, edges)
    chains = [_chain(number, edge, layers) for number, edge in enumerate(edges)]
    rows: dict[int, list[str]] = defaultdict(list)
    for name in sizes:
        rows[layers[name]].append(name)
    above, below = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for edge, stops in zip(edges, chains, strict=True):
        for step, name in enumerate(stops[1:-1], layers[edge[0]] + 1):
            rows[step].append(name)
        for one, other in pairwise(stops):
            below[one].append(other)
            above[other].append(one)
    order = [rows[layer] for layer in sorted(rows)]
    widths, heights = {}, {}
    for name in chain.from_iterable(order):
        widths[name], heights[name] = sizes.get(name, (LANE, 0.0))
    x = _initial_positions(order, widths)
    for sweep in range(SWEEPS):
        neighbours, rows_in_order = (above, order) if sweep % 2 == 0 else (below, order[::-1])
        for row in rows_in_order:
            targets = {}
            for name in row:
                near = neighbours[name] or [name]
                targets[name] = sum(x[each] for each in near) / len(near)
            row.sort(key=targets.__getitem__)
            x |= _spread(row, targets, widths)
    left = min(x[name] - widths[name] / 2 for name in x)
    y: dict[str, float] = {}
    top = 0.0
    for row in order:
        height = max(heights[name] for name in row)
        y |= dict.fromkeys(row, top + height / 2)
        top += height + rise
    centres = {name: (x[name] - left, y[name]) for name in x}
    starts = _attachment_points(chains, centres, sizes, 0, 1)
    arrivals = _attachment_points(chains, centres, sizes, -1, -2)
    paths = []
    for number, (first, *lanes, last) in enumerate(chains):
        start = (starts[number], centres[first][1] + sizes[first][1] / 2)
        end = (arrivals[number], centres[last][1] - sizes[last][1] / 2)
        paths.append((start, *(centres[lane] for lane in lanes), end))
    width = max(centres[name][0] + widths[name] / 2 for name in centres)
    return Layout({name: centres[name] for name in sizes}, tuple(paths), width, top - rise)


def _layers(sizes: Mapping[str, Point], edges: Sequence[Edge]) -> dict[str, int]:
    """Put each box one layer below its lowest input, and sources just above a reader."""
    inputs, readers = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for start, end in edges:
        inputs[end].append(start)
        readers[start].append(end)
    layers = dict.fromkeys(sizes, 0)
    for name in sizes:
        layers[name] = max((layers[each] + 1 for each in inputs[name]), default=0)
    for name in sizes:
        if readers[name] and not inputs[name]:
            layers[name] = min(layers[each] for each in readers[name]) - 1
    return layers


def _chain(number: int, edge: Edge, layers: Mapping[str, int]) -> list[str]:
    """Return an arrow's stops: its ends, and a lane in each layer that it passes."""
    start, end = edge
    stops = [start]
    for layer in range(layers[start] + 1, layers[end]):
        stops.append(f"{number} {layer}")
    return [*stops, end]


def _initial_positions(
    order: Sequence[Sequence[str]], widths: Mapping[str, float]
) -> dict[str, float]:
    x = {}
    for row in order:
        at = -(sum(widths[name] for name in row) + GAP * (len(row) - 1)) / 2
        for name in row:
            x[name] = at + widths[name] / 2
            at += widths[name] + GAP
    return x


def _spread(
    row: Sequence[str], targets: Mapping[str, float], widths: Mapping[str, float]
) -> dict[str, float]:
    """Place a row as near to the target positions as its order and gaps allow.

    Neighbours that would overlap move as one group about their mean.
    """
    groups: list[tuple[float, list[str]]] = []
    offset: dict[str, float] = {}
    for name in row:
        names, sums = [name], targets[name]
        offset[name] = 0.0
        while groups:
            last, before = groups[-1]
            end = last + offset[before[-1]] + widths[before[-1]] / 2
            start = sums / len(names) - widths[names[0]] / 2
            if end + GAP <= start:
                break
            shift = offset[before[-1]] + (widths[before[-1]] + widths[names[0]]) / 2 + GAP
            for each in names:
                offset[each] += shift
            groups.pop()
            names = before + names
            sums = sum(targets[each] - offset[each] for each in names)
        groups.append((sums / len(names), names))
    return {name: at + offset[name] for at, names in groups for name in names}


def _attachment_points(
    chains: Sequence[Sequence[str]],
    centres: Mapping[str, Point],
    sizes: Mapping[str, Point],
    end: int,
    next_: int,
) -> dict[int, float]:
    """Spread the arrows along one side of each box, in their order."""
    attached: dict[str, list[int]] = defaultdict(list)
    for number, stops in enumerate(chains):
        attached[stops[end]].append(number)
    found = {}
    for name, numbers in attached.items():
        numbers.sort(key=lambda number: centres[chains[number][next_]][0])
        step = min(GAP, sizes[name][0] / (len(numbers) + 1))
        for place, number in enumerate(numbers):
            found[number] = centres[name][0] + (place - (len(numbers) - 1) / 2) * step
    return found

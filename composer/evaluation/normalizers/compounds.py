"""Take a compound written in one word or in several for the same."""

from __future__ import annotations

from composer.evaluation.alignment import Span


def align(reference: list[str], said: list[str]) -> tuple[Span, ...]:
    """Align words at equal cost of each error, and compounds at none.

    Neighbours on either side may stand, joined, for one word on the other: `white paper` for
    `whitepaper`. kaldialign counts so with `merge_compounds`, each word of the reference as one.
    """
    joins = _joins(reference, said)
    spans: list[Span] = []
    i = j = 0
    for next_i, next_j in _path(reference, said, joins):
        words = tuple(reference[i:next_i]), tuple(said[j:next_j])
        kind = _kind(*words)
        if spans and spans[-1].kind == kind and len(words[0]) == len(words[1]) == 1:
            last = spans.pop()
            words = last.reference + words[0], last.hypothesis + words[1]
        spans.append(Span(kind, *words))
        i, j = next_i, next_j
    return tuple(spans)


def _kind(reference: tuple[str, ...], said: tuple[str, ...]) -> str:
    if "".join(reference) == "".join(said):
        return "equal"
    if not reference:
        return "insert"
    return "substitute" if said else "delete"


Joins = dict[tuple[int, int], list[tuple[int, int]]]


def _joins(reference: list[str], said: list[str]) -> Joins:
    """Return where one word on a side is several on the other: ends to their beginnings."""
    found: Joins = {}
    for long, short, flip in ((reference, said, False), (said, reference, True)):
        places: dict[str, list[int]] = {}
        for at, word in enumerate(short):
            places.setdefault(word, []).append(at)
        longest = max(map(len, short), default=0)
        for begin in range(len(long)):
            joined = long[begin]
            for end in range(begin + 1, len(long)):
                joined += long[end]
                if len(joined) > longest:
                    break
                for at in places.get(joined, ()):
                    stop, start = (end + 1, at + 1), (begin, at)
                    found.setdefault(stop[::-1] if flip else stop, []).append(
                        start[::-1] if flip else start
                    )
    return found


def _path(reference: list[str], said: list[str], joins: Joins) -> list[tuple[int, int]]:
    """Return the points of a cheapest path, the origin left out."""
    rows, columns = len(reference) + 1, len(said) + 1
    cost = [[0] * columns for _ in range(rows)]
    source: dict[tuple[int, int], tuple[int, int]] = {}
    for i in range(rows):
        for j in range(columns):
            steps = [(cost[a][b], (a, b)) for a, b in joins.get((i, j), ())]
            if i and j:
                differs = reference[i - 1] != said[j - 1]
                steps.append((cost[i - 1][j - 1] + differs, (i - 1, j - 1)))
            if i:
                steps.append((cost[i - 1][j] + 1, (i - 1, j)))
            if j:
                steps.append((cost[i][j - 1] + 1, (i, j - 1)))
            if steps:
                cost[i][j], source[i, j] = min(steps, key=lambda step: step[0])
    path = [(rows - 1, columns - 1)]
    while path[-1] in source:
        path.append(source[path[-1]])
    return path[-2::-1] if len(path) > 1 else []

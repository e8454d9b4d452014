"""Treat a compound written as one word or as several as equal."""

from __future__ import annotations

from composer.evaluation.alignment import AlignedWords


def align_compounds(reference: list[str], hypothesis: list[str]) -> tuple[AlignedWords, ...]:
    """Align words at equal cost for each error, and compounds at none.

    Neighbours on either side, joined, may match one word on the other: `white paper` matches
    `whitepaper`. kaldialign counts so with `merge_compounds`, each word of the reference as one.
    """
    joins = _joins(reference, hypothesis)
    spans: list[AlignedWords] = []
    i = j = 0
    for next_i, next_j in _path(reference, hypothesis, joins):
        words = tuple(reference[i:next_i]), tuple(hypothesis[j:next_j])
        kind = _kind(*words)
        if spans and spans[-1].kind == kind and len(words[0]) == len(words[1]) == 1:
            last = spans.pop()
            words = last.reference + words[0], last.hypothesis + words[1]
        spans.append(AlignedWords(kind, *words))
        i, j = next_i, next_j
    return tuple(spans)


def _kind(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> str:
    if "".join(reference) == "".join(hypothesis):
        return "equal"
    if not reference:
        return "insert"
    if not hypothesis:
        return "delete"
    return "substitute"


Joins = dict[tuple[int, int], list[tuple[int, int]]]


def _joins(reference: list[str], hypothesis: list[str]) -> Joins:
    """Return where one word on a side is several on the other: from ends to starts."""
    found: Joins = {}
    for long, short, flip in ((reference, hypothesis, False), (hypothesis, reference, True)):
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
                    if flip:
                        stop, start = stop[::-1], start[::-1]
                    found.setdefault(stop, []).append(start)
    return found


def _path(reference: list[str], hypothesis: list[str], joins: Joins) -> list[tuple[int, int]]:
    """Return the points of a cheapest path, the origin left out."""
    rows, columns = len(reference) + 1, len(hypothesis) + 1
    cost = [[0] * columns for _ in range(rows)]
    source: dict[tuple[int, int], tuple[int, int]] = {}
    for i in range(rows):
        for j in range(columns):
            steps = [(cost[a][b], (a, b)) for a, b in joins.get((i, j), ())]
            if i and j:
                differs = reference[i - 1] != hypothesis[j - 1]
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
    path.reverse()
    return path[1:]

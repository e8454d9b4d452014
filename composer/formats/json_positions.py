"""Find the line and column of a key in a JSON file."""

from __future__ import annotations

import re
from collections.abc import Iterator

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]')


def key_position(text: str, path: tuple[str, ...]) -> tuple[int, int] | None:
    """Return line and column of the key that `path` leads to through objects, or None."""
    for found, start in _keys(text):
        if found == path:
            return text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    return None


def _keys(text: str) -> Iterator[tuple[tuple[str, ...] | None, int]]:
    """Yield the path and the offset of every key; keys inside lists have no path."""
    parents: list[str | None] = []
    last: tuple[str, int] | None = None
    key: str | None = None
    for match in TOKEN.finditer(text):
        token = match[0]
        if token[0] == '"':
            last = token[1:-1], match.start()
        elif token == ":" and last:
            key = last[0]
            path = (*(each or "" for each in parents[1:]), key)
            yield path, last[1]
        elif token in "{[":
            parents.append(key if token == "{" else None)
            key = None
        elif token in "}]" and parents:
            parents.pop()

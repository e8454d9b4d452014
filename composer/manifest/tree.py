"""Build plain data from parse events and keep the place of every key and value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from composer.core.errors import ComposerError, Place, Problem

MOST_DEPTH = 32
DEEP = f"nested more than {MOST_DEPTH} levels deep"
MOST_VALUES = 10_000
MOST_PROBLEMS = 20
LARGEST, SMALLEST = 2**63 - 1, -(2**63)
BEYOND = "this number is beyond 64 bits"

At = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a document: a mapping or list begins, one ends, or a single value."""

    kind: Literal["map", "list", "end", "value"]
    at: At
    value: Any = None
    plain: bool = False


@dataclass(slots=True)
class SourceSpan:
    """The place of a value, of its key, and the spots of what it holds."""

    value: At
    key: At | None = None
    children: dict[str | int, SourceSpan] = field(default_factory=dict)


class Report:
    """Gather the problems of one file; give up when there are too many to be useful."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def add(self, code: str, message: str, at: At, hint: str | None = None) -> None:
        self.problems.append(Problem(code, message, Place(self.file, *at), hint=hint))
        if len(self.problems) >= MOST_PROBLEMS:
            raise ComposerError(self.problems)

    def stop(self, code: str, message: str, at: At, hint: str | None = None) -> NoReturn:
        self.add(code, message, at, hint)
        raise ComposerError(self.problems)


@dataclass(slots=True)
class _Frame:
    container: dict[str, Any] | list[Any]
    spot: SourceSpan
    wants_key: bool
    key: str | None = None
    key_at: At = (1, 1)

    def attach(self, value: Any, spot: SourceSpan) -> None:
        """Put a value where it belongs; drop it when its key was refused."""
        if isinstance(self.container, list):
            self.spot.children[len(self.container)] = spot
            self.container.append(value)
            return
        self.wants_key = True
        if self.key is not None:
            spot.key = self.key_at
            self.spot.children[self.key] = spot
            self.container[self.key] = value


def whole_number(digits: str, base: int, at: At, report: Report) -> int:
    """Read an integer of at most 64 bits, without ever converting a long one."""
    bare = digits.lstrip("+-").lstrip("0")
    value = int(digits, base) if len(bare) <= 22 and len(digits) <= 200 else LARGEST + 1
    if not SMALLEST <= value <= LARGEST:
        report.add("M112", BEYOND, at, "write it as text, in quotes, if it is a name or an ID")
    return value


def build(events: Iterable[Event], report: Report) -> tuple[Any, SourceSpan] | None:
    """Return the data and its spots, or None for a document without content."""
    root: list[Any] = []
    frames = [_Frame(root, SourceSpan((1, 1)), wants_key=False)]
    for count, event in enumerate(events):
        if count > MOST_VALUES:
            report.stop("M101", f"more than {MOST_VALUES} values", event.at)
        if event.kind == "end":
            frames.pop()
            continue
        frame = frames[-1]
        if isinstance(event.value, str):
            _check_text(event, report)
        is_key = frame.wants_key
        if is_key:
            frame.wants_key = False
            frame.key, frame.key_at = _key(event, frame, report), event.at
        container: Any = {"map": {}, "list": []}.get(event.kind)
        spot = SourceSpan(event.at)
        if not is_key:
            frame.attach(event.value if container is None else container, spot)
        if container is not None:
            if len(frames) > MOST_DEPTH:
                report.stop("M102", DEEP, event.at, "flatten it")
            frames.append(_Frame(container, spot, wants_key=event.kind == "map"))
    return (root[0], frames[0].spot.children[0]) if root else None


def _key(event: Event, frame: _Frame, report: Report) -> str | None:
    if event.kind != "value" or not isinstance(event.value, str):
        what = {"map": "a mapping", "list": "a list"}.get(event.kind, _shown(event.value))
        report.add("M113", f"a key must be text, not {what}", event.at, "put the key in quotes")
        return None
    if event.plain and event.value == "<<":
        report.add(
            "M107",
            "'<<' merge keys are not allowed",
            event.at,
            "write the keys out where they belong",
        )
        return None
    if event.value in frame.spot.children:
        line, _ = frame.spot.children[event.value].key or (0, 0)
        report.add(
            "M104",
            f"the key '{shortened(event.value)}' is here twice",
            event.at,
            f"the first is on line {line}; keep one of them",
        )
        return None
    return event.value


def shortened(text: str) -> str:
    """Return text that fits into a message."""
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else flat[:57] + "..."


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"the number {value}"


def _check_text(event: Event, report: Report) -> None:
    bad = re.search("[\x00\ud800-\udfff]", event.value)
    if bad:
        report.add("M103", f"the character U+{ord(bad[0]):04X} is not text", event.at, "remove it")

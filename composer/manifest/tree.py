"""Build plain data from parse events, with the place of every key and value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from composer.core.errors import ComposerError, Place
from composer.core.problems import Problems

MAX_DEPTH = 32
TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
MAX_VALUES = 10_000
MAX_PROBLEMS = 20
LARGEST, SMALLEST = 2**63 - 1, -(2**63)
OUT_OF_RANGE = "this number is beyond 64 bits"

At = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ParseEvent:
    """One step of a document: a mapping or list begins, one ends, or a single value."""

    kind: Literal["map", "list", "end", "value"]
    at: At
    value: Any = None
    plain: bool = False


@dataclass(slots=True)
class SourceSpan:
    """The place of a value and of its key, and the spans of its children."""

    value: At
    key: At | None = None
    children: dict[str | int, SourceSpan] = field(default_factory=dict)


class ManifestProblems:
    """Collect the problems of one file; stop when there are too many to be useful."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems = Problems()

    def add(self, code: str, message: str, at: At, hint: str | None = None) -> None:
        self.problems.report(code, message, hint=hint, place=Place(self.file, *at))
        if len(self.problems) >= MAX_PROBLEMS:
            raise ComposerError(self.problems)

    def stop(self, code: str, message: str, at: At, hint: str | None = None) -> NoReturn:
        self.add(code, message, at, hint)
        raise ComposerError(self.problems)


@dataclass(slots=True)
class _Frame:
    container: dict[str, Any] | list[Any]
    span: SourceSpan
    expects_key: bool
    key: str | None = None
    key_at: At = (1, 1)

    def attach(self, value: Any, span: SourceSpan) -> None:
        """Add a value to its container; drop it if its key was refused."""
        if isinstance(self.container, list):
            self.span.children[len(self.container)] = span
            self.container.append(value)
            return
        self.expects_key = True
        if self.key is not None:
            span.key = self.key_at
            self.span.children[self.key] = span
            self.container[self.key] = value


def whole_number(digits: str, base: int, at: At, report: ManifestProblems) -> int:
    """Read an integer of at most 64 bits, without converting a long one."""
    bare = digits.lstrip("+-").lstrip("0")
    value = int(digits, base) if len(bare) <= 22 and len(digits) <= 200 else LARGEST + 1
    if not SMALLEST <= value <= LARGEST:
        report.add(
            "M112", OUT_OF_RANGE, at, "write it as text, in quotes, if it is a name or an ID"
        )
    return value


def build_tree(
    events: Iterable[ParseEvent], report: ManifestProblems
) -> tuple[Any, SourceSpan] | None:
    """Return the data and its spans, or None for an empty document."""
    root: list[Any] = []
    frames = [_Frame(root, SourceSpan((1, 1)), expects_key=False)]
    for count, event in enumerate(events):
        if count > MAX_VALUES:
            report.stop("M101", f"more than {MAX_VALUES} values", event.at)
        if event.kind == "end":
            frames.pop()
            continue
        frame = frames[-1]
        if isinstance(event.value, str):
            _check_text(event, report)
        is_key = frame.expects_key
        if is_key:
            frame.expects_key = False
            frame.key, frame.key_at = _key(event, frame, report), event.at
        container: Any = {"map": {}, "list": []}.get(event.kind)
        span = SourceSpan(event.at)
        if not is_key:
            frame.attach(event.value if container is None else container, span)
        if container is not None:
            if len(frames) > MAX_DEPTH:
                report.stop("M102", TOO_DEEP, event.at, "flatten it")
            frames.append(_Frame(container, span, expects_key=event.kind == "map"))
    return (root[0], frames[0].span.children[0]) if root else None


def _key(event: ParseEvent, frame: _Frame, report: ManifestProblems) -> str | None:
    if event.kind != "value" or not isinstance(event.value, str):
        what = {"map": "a mapping", "list": "a list"}.get(event.kind, _describe_key(event.value))
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
    if event.value in frame.span.children:
        line, _ = frame.span.children[event.value].key or (0, 0)
        report.add(
            "M104",
            f"the key '{shortened(event.value)}' occurs twice",
            event.at,
            f"the first is on line {line}; keep one of them",
        )
        return None
    return event.value


def shortened(text: str) -> str:
    """Shorten text for a message."""
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else flat[:57] + "..."


def _describe_key(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"the number {value}"


def _check_text(event: ParseEvent, report: ManifestProblems) -> None:
    invalid = re.search("[\x00\ud800-\udfff]", event.value)
    if invalid:
        report.add(
            "M103", f"the character U+{ord(invalid[0]):04X} is not text", event.at, "remove it"
        )

"""Parse YAML text into events, plain scalars by the YAML 1.2 core schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from composer.manifest.tree import (
    TOO_DEEP,
    At,
    ManifestProblems,
    ParseEvent,
    shortened,
    whole_number,
)

LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
INTEGER = re.compile(r"[-+]?[0-9]+")
OCTAL = re.compile(r"0o[0-7]+")
HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

SYNTAX = (
    # libyaml has a limit of its own since PyYAML 6.0.4, and meets it while it looks ahead.
    ("maximum nesting depth", "M102", TOO_DEEP, "flatten it"),
    ("unicode character", "M103", "this escape is not a character", None),
    (
        "mapping values are not allowed",
        "M105",
        "': ' is not allowed here",
        "indent it one level deeper than the line above, or put text with ': ' in quotes",
    ),
    ("end of stream", "M105", "this quote is not closed", "close it"),
    ("expected ',' or '}'", "M105", "expected ',' or '}' here", "is a brace or a quote missing?"),
    ("expected ',' or ']'", "M105", "expected ',' or ']' here", "is a bracket or a quote missing?"),
    ("expected ':'", "M105", "a key without ': '", "write `key: value`, with the space"),
    (
        "expected <block end>|expected key",
        "M105",
        "expected a key here",
        "is this line indented like the ones it belongs to?",
    ),
    (
        "sequence entries",
        "M105",
        "a list item is not allowed here",
        "put the '-' on a line of its own, below its key",
    ),
    (
        "cannot start any token",
        "M105",
        "this character cannot begin a value",
        "put the value in quotes",
    ),
)


def yaml_events(text: str, report: ManifestProblems) -> Iterator[ParseEvent]:
    """Yield the events of the one document in `text`; report what a bundle must not use."""
    tabs = _tabs(text)
    loader = LOADER(text)
    documents, at = 0, (1, 1)
    try:
        while True:
            try:
                event = loader.get_event()
            except yaml.MarkedYAMLError as error:
                _refuse_syntax(error, text, at, report)
            except (yaml.YAMLError, ValueError, OverflowError):
                report.stop("M103", "an escape after this place is not a character", at)
            if event is None:
                return
            at = (event.start_mark.line + 1, event.start_mark.column + 1)
            if tabs:
                _check_tabs(tabs, event, text, report)
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    report.stop(
                        "M109", "a second document begins here", at, "keep one bundle in one file"
                    )
                if event.version or event.tags:
                    report.add("M108", "YAML directives are not allowed", at, "remove this line")
            yield from _translate(event, at, report)
    finally:
        loader.dispose()


def _translate(event: Any, at: At, report: ManifestProblems) -> Iterator[ParseEvent]:
    if isinstance(event, yaml.AliasEvent):
        report.add(
            "M107",
            f"the alias '*{shortened(str(event.anchor))}' is not allowed",
            at,
            "write the value out, or make it a variant",
        )
        yield ParseEvent("value", at, f"*{event.anchor} on line {at[0]}:{at[1]}")
        return
    if getattr(event, "anchor", None):
        report.add(
            "M107",
            f"the anchor '&{shortened(event.anchor)}' is not allowed",
            at,
            "remove it and write the value out where it is used",
        )
    if getattr(event, "tag", None):
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        report.add(
            "M108", f"the tag '{shortened(tag)}' is not allowed", at, "a bundle is plain data"
        )
        yield from _untagged(event, at)
    elif isinstance(event, yaml.ScalarEvent):
        plain = not event.style
        value = _resolve(event.value, at, report) if plain else event.value
        yield ParseEvent("value", at, value, plain)
    else:
        yield from _untagged(event, at)


def _untagged(event: Any, at: At) -> Iterator[ParseEvent]:
    if isinstance(event, yaml.ScalarEvent):
        yield ParseEvent("value", at, event.value)
    elif isinstance(event, yaml.MappingStartEvent):
        yield ParseEvent("map", at)
    elif isinstance(event, yaml.SequenceStartEvent):
        yield ParseEvent("list", at)
    elif isinstance(event, yaml.CollectionEndEvent):
        yield ParseEvent("end", at)


def _resolve(text: str, at: At, report: ManifestProblems) -> Any:
    """Return the value of a plain scalar in the YAML 1.2 core schema."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    if INTEGER.fullmatch(text):
        return whole_number(text, 10, at, report)
    if OCTAL.fullmatch(text):
        return whole_number(text[2:], 8, at, report)
    if HEXADECIMAL.fullmatch(text):
        return whole_number(text[2:], 16, at, report)
    value = float(text) if FLOAT.fullmatch(text) else None
    if value in (float("inf"), float("-inf")) or NOT_FINITE.fullmatch(text):
        report.add(
            "M112",
            f"'{shortened(text)}' is not a finite number",
            at,
            "put it in quotes if it is text",
        )
    return text if value is None else value


def _refuse_syntax(
    error: yaml.MarkedYAMLError, text: str, at: At, report: ManifestProblems
) -> None:
    mark = error.problem_mark or error.context_mark
    if "end of stream" in str(error.problem) and error.context_mark:
        mark = error.context_mark
    if mark:
        at = (mark.line + 1, mark.column + 1)
        if text[mark.index : mark.index + 1] == "\t":
            report.stop("M105", "tabs are not allowed here", at, "indent with spaces")
        if text[: mark.index + 1].endswith("${"):
            report.stop("M105", "'${' begins no value", at, "write $name, without braces")
    problem = " ".join(str(error.problem or error.context or "unreadable").split())
    for pattern, code, message, hint in SYNTAX:
        if re.search(pattern, problem, re.IGNORECASE):
            report.stop(code, message, at, hint)
    report.stop("M105", f"this is not YAML: {problem}", at)


def _tabs(text: str) -> list[int]:
    """Return the positions of tabs, last first."""
    return [match.start() for match in re.finditer("\t", text)][::-1]


def _check_tabs(tabs: list[int], event: Any, text: str, report: ManifestProblems) -> None:
    """Refuse a tab before or in this event, unless it is in a comment, quotes or a text block."""
    quoted = isinstance(event, yaml.ScalarEvent) and event.style
    start, end = event.start_mark.index, event.end_mark.index
    while tabs and tabs[-1] < (start if quoted else end):
        where = tabs.pop()
        line_start = text.rfind("\n", 0, where) + 1
        if not re.search(r"(^|\s)#", text[line_start:where]):
            at = (text.count("\n", 0, where) + 1, where - line_start + 1)
            report.add("M105", "tabs are not allowed here", at, "indent with spaces")
    while tabs and tabs[-1] < end:
        tabs.pop()

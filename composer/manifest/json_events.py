"""Parse JSON text into events, by the strict grammar and without recursion."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from math import isinf
from typing import NoReturn

from composer.manifest.tree import At, ManifestProblems, ParseEvent, shortened, whole_number

TOKEN = re.compile(
    r"""(?P<string>"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*")"""
    r"""|(?P<number>-?(?:0|[1-9][0-9]*)(?P<part>\.[0-9]+)?(?P<power>[eE][-+]?[0-9]+)?(?![\w.]))"""
    r"""|(?P<word>[-+]?[A-Za-z_]\w*)|(?P<mark>[][{},:])"""
)
SPACE = re.compile(r"[ \t\r\n]*")
WORDS = {"true": True, "false": False, "null": None}
CLOSES = {"{": "}", "[": "]"}
INSIDE = {"{": "a key or '}'", "[": "a value or ']'"}


def json_events(text: str, report: ManifestProblems) -> Iterator[ParseEvent]:
    """Yield the events of the one value in `text`; stop at the first thing that is not JSON."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    open_: list[str] = []
    expected = "a value"
    position = _skip(text, 0)
    while position < len(text):
        line = bisect_right(starts, position)
        at = (line, position - starts[line - 1] + 1)
        token = TOKEN.match(text, position)
        if token is None:
            _refuse(text, position, at, expected, report)
        word = token[0]
        if token["mark"]:
            if expected.endswith(f"'{word}'") and word in "}]":
                open_.pop()
                yield ParseEvent("end", at)
                expected = _after(open_)
            elif word in "{[" and expected.startswith("a value"):
                open_.append(word)
                yield ParseEvent("map" if word == "{" else "list", at)
                expected = INSIDE[word]
            elif word == "," and expected.startswith("','"):
                expected = "a key" if open_[-1] == "{" else "a value"
            elif word == ":" and expected == "':'":
                expected = "a value"
            else:
                _refuse(text, position, at, expected, report)
        elif expected.startswith("a key") and token["string"]:
            yield ParseEvent("value", at, _string(word, at, report))
            expected = "':'"
        elif expected.startswith("a value"):
            yield ParseEvent("value", at, _scalar(token, at, report))
            expected = _after(open_)
        else:
            _refuse(text, position, at, expected, report)
        position = _skip(text, token.end())
    if open_ or expected == "':'":
        line = len(starts)
        report.stop(
            "M106", f"the file ends where {expected} should be", (line, len(text) - starts[-1] + 1)
        )


def _skip(text: str, position: int) -> int:
    space = SPACE.match(text, position)
    assert space  # which may be of no character
    return space.end()


def _after(open_: list[str]) -> str:
    if not open_:
        return "the end of the file"
    return f"',' or '{CLOSES[open_[-1]]}'"


def _scalar(token: re.Match[str], at: At, report: ManifestProblems) -> str | float | bool | None:
    word = token[0]
    if token["string"]:
        return _string(word, at, report)
    if token["number"] and not (token["part"] or token["power"]):
        return whole_number(word, 10, at, report)
    if token["number"]:
        value = float(word)
        if isinf(value):
            report.add("M112", f"'{shortened(word)}' is not a finite number", at)
        return value
    if word.lstrip("+-") in ("NaN", "Infinity"):
        report.add("M112", f"'{word}' is not a finite number", at)
        return 0.0
    if word not in WORDS:
        report.stop("M106", f"'{shortened(word)}' is not JSON", at, "put text in double quotes")
    return WORDS[word]


def _string(token: str, at: At, report: ManifestProblems) -> str:
    try:
        return str(json.loads(token))
    except json.JSONDecodeError as error:
        place = (at[0], at[1] + error.pos)
        report.stop("M106", "this escape is not JSON", place, "write a backslash as \\\\")


def _refuse(text: str, position: int, at: At, expected: str, report: ManifestProblems) -> NoReturn:
    """Raise M106 with what was found in place of `expected`."""
    found = text[position]
    hint = None
    if text.startswith(("//", "/*", "#"), position):
        report.stop("M106", "JSON has no comments", at, "remove it, or write the bundle as YAML")
    if found in "}]" and expected in ("a key", "a value"):
        hint = "remove the comma before it"
    elif found == "'":
        hint = "JSON text is written in double quotes"
    elif found == '"' and not TOKEN.match(text, position):
        report.stop("M106", "this string does not end on its line", at, "write a line break as \\n")
    report.stop("M106", f"expected {expected}, not '{found}'", at, hint)

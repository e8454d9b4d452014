"""Parse JSON that others wrote: bounded, no duplicate keys, no NaN, no lone surrogates."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.formats.file_problems import FileProblems, refuse, show

DIGITS = 40  # transformers writes 10**30 into every tokenizer_config.json
NOT_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
AS_SQUARE = bytes.maketrans(b"{}", b"[]")
STRING = re.compile(rb'"[^"]*(?:"|\Z)')
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


JSON_TYPES = {
    type(None): "null", bool: "a boolean", dict: "an object", list: "a list", str: "a string",
    int: "an integer",
}  # fmt: skip


class InvalidNumber(Exception):
    """A number that is not taken: what it is, and why."""

    def __init__(self, number: str, why: str = "which is not valid JSON") -> None:
        super().__init__(f"{number}, {why}")


def parse_object(
    location: Location,
    data: bytes,
    *,
    what: str = "the file",
    depth: int = 32,
    values: int = 500_000,
    lines: bool = True,
    most: float = math.inf,
) -> dict[str, Any]:
    """Return the JSON object in `data`, or refuse it before the parser can hang or recurse.

    A number beyond `most`, the largest of float32, is refused, too.
    """
    found = data.count(b",") + data.count(b"[") + data.count(b"{")
    if found > values:
        refuse(location, "S412", f"{what} has more than {values} values")
    if too_deep(data, depth):
        refuse(location, "S412", f"{what} is nested more than {depth} levels deep")
    report, seen = FileProblems(), set[str]()

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            seen.clear()
            for key, _ in pairs:
                if key in seen:
                    report.at(location, "S411", f"{what} has the key {show(key)} twice")
                seen.add(key)
        return result

    try:
        text = data.decode()
        result = json.loads(
            text,
            object_pairs_hook=unique,
            parse_constant=_constant,
            parse_float=partial(_within, most, float),
            parse_int=partial(_within, most, _int),
        )
        if SURROGATE.search(data):
            json.dumps(result, ensure_ascii=False).encode()
    except UnicodeError as error:
        why = "half a surrogate pair" if isinstance(error, UnicodeEncodeError) else "not UTF-8"
        refuse(location, "S410", f"{what} has text that is {why}")
    except json.JSONDecodeError as error:
        place = Place(str(location), error.lineno, error.colno) if lines else Place(str(location))
        where = "" if lines else f" at byte {error.pos}"
        raise ComposerError(
            Problem("S410", f"{what} is not JSON: {error.msg}{where}", place)
        ) from None
    except RecursionError:
        refuse(location, "S412", f"{what} is nested too deep to parse")
    except InvalidNumber as error:
        refuse(location, "S413", f"{what} has the number {error}")
    report.raise_any()
    if not isinstance(result, dict):
        refuse(location, "S410", f"{what} is {kind(result)}; expected an object")
    return result


def too_deep(data: bytes, depth: int) -> bool:
    """Return whether brackets nest deeper than `depth`, by peeling the innermost ones off."""
    remaining = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(AS_SQUARE, NOT_STRUCTURE)
    remaining = STRING.sub(b"", remaining.replace(b'""', b""))
    for _ in range(depth):
        remaining, before = remaining.replace(b"[]", b""), len(remaining)
        if len(remaining) == before:
            break
    return b"[]" in remaining or remaining.count(b"[") > depth


def kind(value: object) -> str:
    """Name the JSON type of a value."""
    return JSON_TYPES.get(type(value), "a number")


def _constant(name: str) -> NoReturn:
    raise InvalidNumber(name)


def _within(most: float, read: Callable[[str], float], digits: str) -> float:
    value = read(digits)
    if math.isinf(value):
        raise InvalidNumber(digits[:20])
    if abs(value) > most:
        raise InvalidNumber(digits[:20], "which float32 does not have")
    return value


def _int(digits: str) -> int:
    if len(digits) > DIGITS:
        raise InvalidNumber(f"{digits[:20]}... ({len(digits)} digits)")
    return int(digits)

"""Refuse tokenizer rules that could backtrack exponentially or multiply a text's length.

This covers what static analysis finds: nested unbounded repeats, huge counts, back
references, replacements that multiply. Polynomial backtracking (`a*a*a*b`) and faults inside the
tokenizers library are not found here: load an untrusted tokenizer in a child process.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from composer.core.location import Location
from composer.formats.file_problems import FileProblems, show

STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
PARTS = ("normalizers", "pretokenizers", "processors", "decoders")
MAX_PATTERN, MAX_TOTAL_PATTERN = 4096, 16_384
MAX_REPEAT = 1000
MIN_RISKY_REPEAT = 32
MAX_CONTENT = 256
MAX_GROWTH = 256
MAX_RULES = 1000
MAX_PADDING = 1_000_000
MAX_SEQUENCES = 8
# Decoders that write a space wherever a text stands, by the key of that text.
SPACED = {"BPEDecoder": "suffix", "CTC": "word_delimiter_token"}
UNKNOWN = ("(?R", "(?&", "(?P", "(?(", "(?@", "(*")
PIECE = re.compile(
    r"\\[pPx]\{[^}]*\}|\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]"
    r"|\((?:\?(?:[imsxa-]*:|[=!>]|<[=!]|<\w+>|#[^)]*))?|\)|[*+?]|\{(\d*)(,?)(\d*)\}|.",
    re.DOTALL,
)


@dataclass
class Group:
    """A group that is being scanned: does it repeat, and how do its alternatives start?"""

    repeats: bool = False
    at_start: bool = True
    starts: list[str] = field(default_factory=list)


def check_pipeline(location: Location, content: dict[str, Any], report: FileProblems) -> None:
    """Report the steps of a tokenizer that are unsafe to load or run."""
    characters, before = 0, 1
    for step in STEPS:
        # A text goes through the normalizer and then the pre-tokenizer.
        growth, copies = before if step == "pre_tokenizer" else 1, 0
        if not all(isinstance(part.get("type"), str) for part in _parts(content.get(step))):
            report.at(location, "S460", f"a part of {step} has no type")
        for number, rule in enumerate(_rules(content.get(step))):
            if number >= MAX_RULES:
                report.at(location, "S463", f"{step} has more than {MAX_RULES} rules")
                break
            pattern = rule.get("pattern")
            if isinstance(pattern, dict) and isinstance(pattern.get("Regex"), str):
                characters += len(pattern["Regex"])
                if characters > MAX_TOTAL_PATTERN:
                    report.at(
                        location, "S462", f"its patterns have over {MAX_TOTAL_PATTERN} characters"
                    )
                    return
                _check_pattern(location, step, pattern["Regex"], report)
            for key in ("content", "prepend"):
                text = rule.get(key)
                if isinstance(text, str) and len(text) > MAX_CONTENT:
                    report.at(
                        location,
                        "S463",
                        f"a rule of {step} writes {len(text)} characters at each match; "
                        f"the limit is {MAX_CONTENT}",
                    )
            copies += "Sequence" in rule
            growth = min(growth * _growth(rule), 10**12)
        if growth > MAX_GROWTH:
            report.at(
                location,
                "S463",
                f"{step} can make a text {growth} times as long; the limit is {MAX_GROWTH}",
            )
        if copies > MAX_SEQUENCES:
            report.at(
                location,
                "S463",
                f"{step} writes the text {copies} times; the limit is {MAX_SEQUENCES}",
            )
        before = growth if step == "normalizer" and growth <= MAX_GROWTH else 1
    _check_padding(location, content, report)


def _rules(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _rules(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _rules(inner)


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield a step and the steps that it is made of: the library guesses the type of some."""
    if isinstance(value, dict):
        yield value
        for key in PARTS:
            inner = value.get(key)
            for each in inner if isinstance(inner, list) else ():
                yield from _parts(each)


def _growth(rule: dict[str, Any]) -> int:
    """Bound the factor by which one rule lengthens a text."""
    kind = rule.get("type")
    if kind == "ByteLevel":
        return 2  # a byte beyond ASCII is a letter of two
    if kind == "BertNormalizer":
        return 3  # a space on each side of an ideograph
    if kind == "Precompiled":
        return _longest_entry(rule.get("precompiled_charsmap"))
    if isinstance(kind, str) and kind in SPACED:
        return 1 if rule.get(SPACED[kind]) else 3  # a space on each side of every character
    if kind != "Replace":
        return 1
    pattern, content = rule.get("pattern"), rule.get("content")
    length = len(content) if isinstance(content, str) else 0
    plain = pattern.get("String") if isinstance(pattern, dict) else pattern
    if isinstance(plain, str) and plain:
        return max(1, -(-length // len(plain)))
    return length + 1


def _longest_entry(table: Any) -> int:
    """Return the most characters that a compiled table writes for one: texts that end in NUL."""
    try:
        data = base64.b64decode(table)
    except (TypeError, ValueError):
        return 1  # the library refuses it
    texts = data[4 + int.from_bytes(data[:4], "little") :]
    return max(1, *(len(text) for text in texts.decode(errors="replace").split("\0")))


def _check_pattern(location: Location, step: str, pattern: str, report: FileProblems) -> None:
    why = backtracking_risk(pattern)
    if why:
        report.at(location, "S462", f"a pattern of {step} {why}: {show(pattern)}")


def backtracking_risk(pattern: str) -> str | None:
    """Explain why a pattern may backtrack exponentially, or return None."""
    if len(pattern) > MAX_PATTERN:
        return f"has {len(pattern)} characters, over {MAX_PATTERN}"
    pieces = list(PIECE.finditer(pattern))
    groups, closed = [Group()], Group()
    for match, before in zip(pieces, ["", *(match[0] for match in pieces)], strict=False):
        piece, group = match[0], groups[-1]
        if re.fullmatch(r"\\[1-9gkK]", piece):
            return "refers back to what it matched"
        if pattern.startswith(UNKNOWN, match.start()):
            return "uses a construct that is not known to be safe"
        if piece in ("*", "+") or match[2] is not None:
            bounds = [bound for bound in (match[1], match[3]) if bound]
            if any(len(bound) > 4 or int(bound) > MAX_REPEAT for bound in bounds):
                return f"repeats more than {MAX_REPEAT} times"
            possessive = piece == "+" and before.endswith(("*", "+", "?")) and len(before) == 1
            long = piece in ("*", "+") or (match[2] and not match[3])
            if possessive or not (long or any(int(bound) >= MIN_RISKY_REPEAT for bound in bounds)):
                continue
            if closed.repeats:
                return "repeats a group that itself repeats"
            if len(set(closed.starts)) < len(closed.starts):
                return "repeats a group whose alternatives start alike"
            group.repeats = True
            continue
        if piece == ")":
            closed = groups.pop() if len(groups) > 1 else Group()
            groups[-1].repeats |= closed.repeats
            continue
        closed = Group()
        if piece == "|":
            group.at_start = True
        elif group.at_start:
            group.starts.append(piece)
            group.at_start = False
        if piece.startswith("("):
            groups.append(Group())
    return None


def _check_padding(location: Location, content: dict[str, Any], report: FileProblems) -> None:
    padding = content.get("padding")
    if not isinstance(padding, dict):
        return
    strategy = padding.get("strategy")
    fixed = strategy.get("Fixed") if isinstance(strategy, dict) else None
    for name, length in (
        ("strategy", fixed),
        ("pad_to_multiple_of", padding.get("pad_to_multiple_of")),
    ):
        if length is not None and (type(length) is not int or not 0 <= length <= MAX_PADDING):
            report.at(
                location,
                "S463",
                f"padding.{name} is {show(str(length))}; the limit is {MAX_PADDING}",
            )

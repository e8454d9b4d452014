"""Read a manifest's text into plain data with the place of every key and value."""

from __future__ import annotations

import codecs
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from composer.core.errors import ComposerError, Place, Problem
from composer.formats.files import stays_in_folder
from composer.manifest.json_events import json_events
from composer.manifest.tree import ManifestProblems, SourceSpan, build_tree
from composer.manifest.yaml_events import yaml_events

FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
MAX_BYTES = 256 * 1024
TOO_LARGE = f"larger than {MAX_BYTES // 1024} KiB"
ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
NOT_PRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


@dataclass(frozen=True)
class Document:
    """The data of one file and the spans of its values."""

    file: str
    data: dict[str, Any]
    spans: SourceSpan

    def place(self, path: tuple[str | int, ...], key: bool = False) -> Place:
        """Return the place of a value (or its key), or of its nearest existing ancestor."""
        span = self.spans
        for part in path:
            child = span.children.get(part)
            if child is None:
                return Place(self.file, *span.value)
            span = child
        return Place(self.file, *((key and span.key) or span.value))


def read_document_file(path: Path) -> Document:
    """Read a YAML file, or a JSON file by its extension; raise ComposerError with all problems."""
    report = ManifestProblems(str(path))
    text = _decode(_read_bytes(path), report)
    events = json_events if path.suffix.lower() == ".json" else yaml_events
    document = build_tree(events(text, report), report)
    if report.problems:
        raise ComposerError(report.problems)
    hint = "a bundle begins with `composer: 1`"
    if document is None or document[0] is None:
        report.stop("M110", "the file is empty", (1, 1), hint)
    data, spans = document
    if not isinstance(data, dict):
        report.stop("M111", "a bundle is a mapping of keys to values", spans.value, hint)
    return Document(str(path), data, spans)


def _read_bytes(path: Path) -> bytes:
    """Return the bytes of a regular file within the size limit."""
    try:
        if not stays_in_folder(path):  # or the lines of any file would be quoted as unknown keys
            hint = "put the file itself there"
            _unreadable(path, "this is a link that leads out of its folder", hint=hint)
        with open(os.open(path, FLAGS), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                _unreadable(path, "this is not a regular file")
            if status.st_size > MAX_BYTES:
                _unreadable(path, TOO_LARGE, "M101", "put weights and data into sources")
            data = file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        _unreadable(path, "this is not a regular file")
    except FileNotFoundError:
        _unreadable(path, "the file does not exist")
    except (OSError, ValueError) as error:
        _unreadable(path, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    if len(data) > MAX_BYTES:
        _unreadable(path, TOO_LARGE, "M101", "put weights and data into sources")
    return data


def _unreadable(path: Path, message: str, code: str = "M100", hint: str | None = None) -> NoReturn:
    shown = str(path).encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    raise ComposerError(Problem(code, message, Place(shown), hint=hint)) from None


def _decode(data: bytes, report: ManifestProblems) -> str:
    """Return text without its byte order mark; refuse what is not text, with its place."""
    encoding = "utf-8"
    for mark, name in ENCODINGS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], name
            break
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        report.stop(
            "M103", "this byte is not valid UTF-8", (line, column), "save the file as UTF-8"
        )
    for invalid in NOT_PRINTABLE.finditer(text):
        line = text.count("\n", 0, invalid.start()) + 1
        at = (line, invalid.start() - text.rfind("\n", 0, invalid.start()))
        message = f"the invisible character U+{ord(invalid[0]):04X} is not allowed"
        report.add("M103", message, at, "remove it, or write it as an escape in double quotes")
    if report.problems:
        raise ComposerError(report.problems)
    return text

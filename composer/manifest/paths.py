"""Check the sources of a manifest, and the paths inside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from composer.core.suggest import listed, nearest, with_nearest
from composer.manifest.fields import HUB_ID
from composer.manifest.tree import shortened
from composer.manifest.validation_faults import Fault, format_path

HUB = re.compile(HUB_ID.rstrip("$") + r"(@[A-Za-z0-9][A-Za-z0-9._/-]*)?$")
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
SOURCE_HINT = "write hf:owner/name, hf:owner/name@revision, or a folder such as ./weights"
PATH_HINT = "write a source's name, then the path inside it, such as repo/decoder"

Path = tuple[str | int, ...]


def source_error(text: str) -> str | None:
    """Return why a text is not a source, or None if it is one."""
    if text.startswith("hf:"):
        rest = text[3:]
        if not HUB.fullmatch(rest) or ".." in rest or "--" in rest.partition("@")[0]:
            return "a hub repository is owner/name"
        return None
    fault = _path_error(text.removeprefix("./").removesuffix("/"), empty=text in ("./", "."))
    if fault is None and not text.startswith("./") and text != ".":
        return "a folder begins with ./ and a hub repository with hf:"
    return fault


def _path_error(text: str, empty: bool = False) -> str | None:
    """Return why a text is not a plain relative path, or None if it is one."""
    if ADDRESS.match(text):
        return "addresses are not allowed"
    if re.search(r"[\\\x00-\x1f\x7f]", text):
        return "it has a backslash or a control character"
    if text.startswith(("/", "~")) or re.match(r"[A-Za-z]:", text):
        return "it is not relative"
    parts = text.split("/")
    if ".." in parts:
        return "'..' leaves the folder"
    if not empty and ("" in parts or "." in parts):
        return "a part of it is empty"
    return None


def source_hint(text: str) -> str:
    """Return how to write a source."""
    hub = re.match(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)", text)
    if hub:
        return f"write hf:{hub[1]}"
    if HUB.fullmatch(text):
        return f"write hf:{text}, or ./{text} if it is a folder"
    return SOURCE_HINT


def check_path(value: Any, path: Path, sources: dict[str, Any]) -> Iterator[Fault]:
    """Yield what is wrong with a path inside a source."""
    if not isinstance(value, str) or not value:
        return
    fault = _path_error(value)
    if fault or value.startswith("hf:"):
        fault = fault or "a repository is declared under sources"
        message = f"{format_path(path)} is not a path inside a source: {fault}"
        yield Fault("M128", message, path, _path_hint(value, sources))
        return
    source = value.partition("/")[0]
    if source not in sources:
        message = f"'{shortened(source)}' in {format_path(path)} is not a source"
        hint = f"sources: {listed(sources)}" if sources else "declare it under sources"
        if len(sources) == 1 and nearest(source, sources) is None:
            hint = f"a path begins with its source: {next(iter(sources))}/{shortened(value)}"
        if HUB.fullmatch(value):
            hint = f"a repository is a source: sources: {{repo: hf:{value}}}; {hint}"
        yield Fault("M129", with_nearest(message, source, sources), path, hint)


def _path_hint(value: str, sources: dict[str, Any]) -> str:
    """Return how a path from the manifest's own folder is written."""
    inside = value.removeprefix("./")
    if not sources or inside == value or _path_error(inside):
        return PATH_HINT
    return f"write {next(iter(sources))}/{inside}"

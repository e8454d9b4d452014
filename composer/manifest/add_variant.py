"""Add a variant to the text of a manifest, which stays as it is otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import hold_folder_lock, write_file
from composer.core.quantization_recipe import QuantizationRecipe
from composer.manifest.manifest import find_manifest, read_document, read_manifest
from composer.manifest.precision_request import read_precision
from composer.manifest.recipes import recipes

VARIANTS = re.compile(r"^variants:[ \t]*(#.*)?$", re.M)


def add_variant(path: Path, name: str, precision: Mapping[str, str]) -> Path:
    """Write a variant in which components have other precisions; return the manifest's path.

    `precision` has recipes and dtypes, over what the manifest says.

    Raise R542 where there is a variant of this name, or where the manifest is not block YAML, and
    R507 where another process is writing there.
    """
    file = find_manifest(path)
    with hold_folder_lock(file.parent):
        return _add_variant(file, name, precision)


def _add_variant(file: Path, name: str, precision: Mapping[str, str]) -> Path:
    document = read_document(file)
    if name in document.data.get("variants", {}):
        hint = "choose another name"
        raise ComposerError(_problem(file, f"there is a variant '{name}' already", hint))
    components = read_manifest(file).components
    parts = []
    for each, asked in precision.items():
        whole = read_precision(asked).applied(components[each].precision)
        parts.append(f"{each}: {{precision: {_text(whole)}}}")
    line = f"  {name}: {{components: {{{', '.join(parts)}}}}}\n"
    text = file.read_text("utf-8")
    found = VARIANTS.search(text)
    if file.suffix == ".json" or ("variants" in document.data and not found):
        raise ComposerError(_problem(file, "its variants are not written line by line", line))
    if found:
        text = f"{text[: found.end()]}\n{line}{text[found.end() + 1 :]}"
    else:
        text = f"{text.rstrip()}\n\nvariants:\n{line}"
    before = file.read_bytes()
    write_file(file, text)
    try:
        read_manifest(file, name)
    except ComposerError:
        write_file(file, before)
        raise
    return file


def _text(precision: str | QuantizationRecipe | None) -> str:
    """Return a precision as a manifest has it; of a recipe its name, and what it adds to that."""
    if not isinstance(precision, QuantizationRecipe):
        return json.dumps(precision)
    base = QuantizationRecipe(precision.bits, precision.group_size, mode=precision.mode)
    found: dict[str, Any] = {key: getattr(base, key) for key in ("bits", "group_size", "mode")}
    if precision.name:
        base = recipes()[precision.name].quantization
        found = {"recipe": precision.name}
    rules = {g: asdict(rule) for g, rule in precision.rules.items() if rule != base.rules.get(g)}
    more = {"rules": rules, "keep": precision.keep[len(base.keep) :], "dtype": precision.dtype}
    found |= {key: value for key, value in more.items() if value}
    return str(precision.name) if [*found] == ["recipe"] else json.dumps(found)


def _problem(file: Path, message: str, hint: str) -> Problem:
    return Problem("R542", message, Place(str(file)), hint=hint.strip())

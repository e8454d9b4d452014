"""The names of a decoder's inputs and outputs: those of its file, and the usual ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from composer.formats import OnnxSignature

NUMBER = "%d"  # of a layer


def usual_name(name: str, names: Mapping[str, str]) -> str:
    """Return the usual name of what a file calls `name`; `%d` in both is the number of a layer."""
    for own, usual in names.items():
        pattern = re.escape(own).replace(re.escape(NUMBER), r"(\d{1,4})", 1)
        if found := re.fullmatch(pattern, name):
            return usual.replace(NUMBER, found.group(found.re.groups), 1)
    return name


def unused_names(names: Mapping[str, str], *signatures: OnnxSignature) -> list[str]:
    """Return those that none of the files has."""
    there = []
    for signature in signatures:
        there += [each.name for each in (*signature.inputs, *signature.outputs)]
    return [own for own in names if not any(usual_name(name, {own: ""}) == "" for name in there)]

"""Collect the tensors of a model in several GGUF files, as llama-gguf-split writes them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from composer.core.errors import ComposerError, Place, Problem
from composer.formats.safetensors import Tensor, TensorIndex

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers

COUNT, NUMBER, TENSORS = "split.count", "split.no", "split.tensors.count"
NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.S)


def all_tensors(file: Location, headers: Headers) -> TensorIndex:
    """Return the tensors of a file and, where it is the first of several parts, of the others.

    Raise ComposerError for a part that is not the first, and for parts that do not fit together.
    """
    first = headers.gguf(file)
    count = first.metadata.get(COUNT, 1)
    if count in (0, 1):
        return first.tensors
    name = NAME.fullmatch(file.inside)
    if name is None or int(name[3]) != count:
        _refuse(file, f"is one of {count} parts, but is not named -00001-of-{count:05d}.gguf")
    if first.metadata.get(NUMBER) != 0 or int(name[2]) != 1:
        _refuse(file, f"is not the first of {count} parts", hint="name the first one")
    files = [
        replace(file, inside=f"{name[1]}-{n:05d}-of-{count:05d}.gguf") for n in range(1, count + 1)
    ]
    found: dict[str, Tensor] = {}
    for number, each in enumerate(files):
        part = headers.gguf(each)
        if (part.metadata.get(NUMBER), part.metadata.get(COUNT)) != (number, count):
            _refuse(each, f"is not part {number + 1} of {count}, as its name says")
        for tensor in part.tensors:
            if tensor in found:
                _refuse(each, f"has the tensor {tensor}, which {found[tensor].file} has too")
        found.update(part.tensors)
    wanted = first.metadata.get(TENSORS, len(found))
    if wanted != len(found):
        _refuse(file, f"states {wanted} tensors, but its {count} parts have {len(found)}")
    return TensorIndex(found, {}, tuple(files))


def _refuse(file: Location, message: str, hint: str | None = None) -> NoReturn:
    raise ComposerError(Problem("W241", message, Place(str(file)), hint=hint))

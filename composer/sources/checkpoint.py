"""A checkpoint without a manifest: a folder or a repository, or one GGUF file in it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed
from composer.formats.gguf import SUFFIX as GGUF
from composer.manifest import FILES
from composer.sources.hub import HubId

CONFIG = "config.json"
SPLIT = re.compile(r"-(\d{5})-of-\d{5}$")  # behind the name of a part, without its suffix
NOT_A_MODEL = re.compile(r"(?:.*/)?(?:mmproj|imatrix)[^/]*|.*[-._](?:mmproj|imatrix)", re.S)


@dataclass(frozen=True)
class Checkpoint:
    """What a default manifest was found for: its source. `file` is empty where all of it is."""

    folder: Path | HubId
    file: str = ""

    def __str__(self) -> str:
        return f"{self.folder}/{self.file}" if self.file else str(self.folder)


def local_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint at a path, a GGUF file or a folder; None if that has a manifest.

    Raise S457 for a folder of several GGUF files.
    """
    if path.name.endswith(GGUF) and path.is_file():
        return Checkpoint(path.parent, path.name)
    if not path.is_dir() or any((path / name).exists() for name in FILES):
        return None
    if (path / CONFIG).is_file():
        return Checkpoint(path)
    files = sorted(each.name for each in path.glob(f"*{GGUF}") if each.is_file())
    models = model_files(files)
    if not models:
        return None
    if len(models) > 1:
        _raise_ambiguous(str(path), models, str(path / models[0]))
    return Checkpoint(path, models[0])


def hub_file(id: HubId, files: Collection[str], part: str = "") -> str:
    """Return the GGUF file of a repository, of several the one with this part in its name.

    `part` is that of llama.cpp's names, such as Q8_0. Empty where the repository's safetensors are
    meant, and S457 where several files fit, or none.
    """
    models = model_files(files)
    if not part and (not models or (CONFIG in files and any(map(_is_safetensors, files)))):
        return ""
    word = re.compile(rf"(?:.*[-._/])?{re.escape(part)}(?:[-._/].*)?", re.S | re.I)
    fitting = [name for name in models if not part or word.fullmatch(name.removesuffix(GGUF))]
    if len(fitting) != 1:
        name = f"{id}:{part}" if part else str(id)
        _raise_ambiguous(name, fitting or models, f"{id}:{_part(models[0])}" if models else "")
    return fitting[0]


def _is_safetensors(name: str) -> bool:
    return name.endswith(".safetensors")


def model_files(names: Iterable[str]) -> list[str]:
    """Return the GGUF files that hold a model, and not an encoder or a quantizer's statistics.

    Of a model in several parts it is the first.
    """
    found = []
    for name in sorted(names):
        stem = name.removesuffix(GGUF)
        part = SPLIT.search(stem)
        is_first = part is None or int(part[1]) == 1
        if name.endswith(GGUF) and is_first and not NOT_A_MODEL.fullmatch(stem):
            found.append(name)
    return found


def _part(name: str) -> str:
    """Return the last part of a file's name: its quantization."""
    return re.split(r"[-./]", SPLIT.sub("", name.removesuffix(GGUF)))[-1]


def _raise_ambiguous(name: str, files: list[str], example: str) -> NoReturn:
    """Refuse a name that not one file has; `example` would be one."""
    message = f"{name} is not one GGUF file: "
    message += f"there are {listed(files)}" if files else "there is none"
    hint = f"name one of them, such as {example}" if files else None
    raise ComposerError(Problem("S457", message, hint=hint))

"""A checkpoint without a manifest: a folder or a repository, or one GGUF file in it.

Beside a model's GGUF file may lie one of its encoders, which llama.cpp names mmproj.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed
from composer.formats.gguf import SUFFIX as GGUF
from composer.manifest import FILES
from composer.sources.hub import HubId

CONFIG, GENAI = "config.json", "genai_config.json"
SPLIT = re.compile(r"-(\d{5})-of-\d{5}$")  # behind the name of a part, without its suffix
SOURCE, MMPROJ = "repo", "mmproj"  # the sources that stand for them in a default manifest
ENCODERS = re.compile(r"(?:.*/)?mmproj[^/]*|.*[-._]mmproj", re.S)
EXACT = ("bf16", "f16", "f32")  # what of several files of encoders is taken, the first before
NOT_A_MODEL = re.compile(r"(?:.*/)?(?:mmproj|imatrix|mtp-)[^/]*|.*[-._](?:mmproj|imatrix)", re.S)


@dataclass(frozen=True)
class Checkpoint:
    """What a default manifest was found for: its source. `file` is empty where all of it is.

    `mmproj` is the file of encoders beside that, if there is one.
    """

    folder: Path | HubId
    file: str = ""
    mmproj: str = ""

    @property
    def sources(self) -> Mapping[str, str]:
        """Return the file of each source of a default manifest."""
        return {SOURCE: self.file, MMPROJ: self.mmproj}

    def __str__(self) -> str:
        return f"{self.folder}/{self.file}" if self.file else str(self.folder)


def local_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint at a path, a GGUF file or a folder; None if that has a manifest.

    Raise S457 for a folder of several GGUF files.
    """
    if path.name.endswith(GGUF) and path.is_file():
        return Checkpoint(path.parent, path.name, mmproj_file(path.name, _gguf_files(path.parent)))
    if not path.is_dir() or any((path / name).exists() for name in FILES):
        return None
    if (path / CONFIG).is_file() or (path / GENAI).is_file():
        return Checkpoint(path)
    files = _gguf_files(path)
    models = model_files(files)
    if not models:
        return None
    if len(models) > 1:
        _raise_ambiguous(str(path), models, str(path / models[0]))
    return Checkpoint(path, models[0], mmproj_file(models[0], files))


def _gguf_files(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.glob(f"*{GGUF}") if each.is_file())


def mmproj_file(model: str, files: Iterable[str]) -> str:
    """Return the file of encoders that lies beside a model's, empty if there is none.

    Of several it is one whose numbers are those of the release, bfloat16 before others.
    """
    folder, found = model.rpartition("/")[0], []
    for name in sorted(files):
        stem = name.removesuffix(GGUF)
        if name.endswith(GGUF) and name.rpartition("/")[0] == folder and ENCODERS.fullmatch(stem):
            found.append(name)
    for kind in EXACT:
        for name in found:
            if _part(name).lower() == kind:
                return name
    return found[0] if found else ""


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
    """Return the GGUF files that hold a model: no encoder, statistics or draft heads (`mtp-`).

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

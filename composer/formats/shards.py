"""Find which safetensors files of a folder are the model, and check them against their index."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NoReturn

from composer.core.location import Location
from composer.formats.file_problems import FileProblems, join_names, refuse, show
from composer.formats.files import Files
from composer.formats.strictjson import parse_object
from composer.formats.wrong_file_type import refuse_wrong_type

MODEL, INDEX = "model", ".safetensors.index.json"
OF_FILES = "write the path of the file to use"
OF_INDEXES = f"move one set of weights away, or name the index of the other {MODEL}{INDEX}"
INDEX_SIZE = 32_000_000
SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,200}\.safetensors")
NUMBERED = re.compile(r"(.*)-(\d{1,6})-of-(\d{1,6})\.safetensors")
OTHERS = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".npz", ".h5", ".gguf", ".onnx")


@dataclass(frozen=True)
class Shards:
    """The files of a model and, with an index, the tensors that it assigns to each.

    `others` are the safetensors files beside them that are no part of the model.
    """

    files: tuple[Location, ...]
    expected: dict[str, set[str]] | None = None
    others: tuple[str, ...] = ()

    def compare(self, shard: Location, names: Collection[str], report: FileProblems) -> None:
        """Report the tensors that a shard is missing or has beyond its index."""
        if self.expected is None:
            return
        expected = self.expected[shard.inside.rpartition("/")[2]]
        for name in sorted(expected.difference(names)):
            report.at(shard, "S435", f"has no {show(name)}, which the index places here")
        for name in sorted(set(names) - expected):
            report.at(shard, "S435", f"has {show(name)}, which the index does not place here")


def find_shards(folder: Location, files: Files) -> Shards:
    """Return the model's files.

    They are those of model.safetensors.index.json, else model.safetensors, as transformers looks
    for them, else those of the only index, else all that `model*` matches, else the only one.
    Whatever lies beside them is not read.
    """
    names = files.names(folder)
    indexes = [name for name in names if name.endswith(INDEX)]
    stored = [name for name in names if name.endswith(".safetensors")]
    if MODEL + INDEX in indexes:
        return _indexed(folder, MODEL + INDEX, stored, files)
    if f"{MODEL}.safetensors" in stored:
        return _chosen(folder, [f"{MODEL}.safetensors"], stored)
    if len(indexes) > 1:
        _ambiguous(folder, f"has {len(indexes)} indexes: {join_names(indexes)}", OF_INDEXES)
    if indexes:
        return _indexed(folder, indexes[0], stored, files)
    if not stored:
        others = [name for name in names if name.endswith(OTHERS)]
        refuse(
            folder,
            "S432",
            "has no safetensors file",
            f"it has {join_names(others or names)}",
            hint="convert the weights to safetensors" if others else None,
        )
    own = [name for name in stored if name.startswith(MODEL)]
    if not own and len(stored) > 1:
        _ambiguous(
            folder, f"has {len(stored)} safetensors files and no index: {join_names(stored)}"
        )
    own = own or stored
    _check_series(folder, own)
    return _chosen(folder, own, stored)


def _ambiguous(folder: Location, message: str, hint: str = OF_FILES) -> NoReturn:
    refuse(folder, "S432", message, hint=hint)


def _indexed(folder: Location, index: str, stored: list[str], files: Files) -> Shards:
    location = folder / index
    with files.open(location) as ranges:
        if ranges.size > INDEX_SIZE:
            refuse(location, "S408", f"has {ranges.size} bytes; the limit is {INDEX_SIZE}")
        data = ranges.read(0, ranges.size)
    refuse_wrong_type(location, data[:512], "a safetensors index")
    places = parse_object(location, data).get("weight_map")
    if not isinstance(places, dict) or not places:
        refuse(location, "S433", "has no weight_map that names tensors")
    report, expected = FileProblems(), dict[str, set[str]]()
    for name, shard in places.items():
        if not isinstance(shard, str) or not SHARD.fullmatch(shard):
            report.at(
                location,
                "S433",
                f"places {show(name)} in {show(str(shard))}; expected a .safetensors file "
                "of this folder",
            )
        else:
            expected.setdefault(shard, set()).add(name)
    for shard in sorted(expected):
        if shard not in stored:
            report.at(
                location,
                "S434",
                f"names {shard}, which is not in the folder",
                f"{folder} contains {join_names(stored)}",
                hint="fetch the missing file",
            )
    for name in stored:
        if name.startswith("model") and name not in expected:
            report.at(
                folder / name,
                "S435",
                f"is not named by {index}, but loaders take every model*.safetensors",
                hint="remove one of the two sets of weights",
            )
    report.raise_any()
    return _chosen(folder, sorted(expected), stored, expected)


def _chosen(
    folder: Location, own: list[str], stored: list[str], expected: dict[str, set[str]] | None = None
) -> Shards:
    others = [name for name in stored if name not in own]
    return Shards(tuple(map(folder.__truediv__, own)), expected, tuple(others))


def _check_series(folder: Location, stored: list[str]) -> None:
    series: dict[tuple[str, str], set[int]] = {}
    for match in filter(None, map(NUMBERED.fullmatch, stored)):
        stem, number, count = match.groups()
        series.setdefault((stem, count), set()).add(int(number))
    for (stem, count), numbers in series.items():
        if len(numbers) != int(count) or max(numbers) > int(count):
            found = ", ".join(map(str, sorted(numbers)))
            refuse(
                folder,
                "S434",
                f"has numbers {found} of the {int(count)} shards of {show(stem)}",
                hint="fetch the missing files",
            )

"""Write a checkpoint with some of its modules packed, in pieces of bounded size."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from composer.core.location import Location
from composer.formats.headers import Headers
from composer.formats.packing import ModuleToPack, Pack, Packing
from composer.formats.safetensors import Tensor, TensorIndex
from composer.formats.safetensors_writer import NewTensor, SafetensorsWriter
from composer.quantization.config import with_quantization

PIECE = 32_000_000  # bytes that are read at once
SHARD = 5_000_000_000  # bytes of a file, unless one module takes more


@dataclass(frozen=True)
class TensorRewrite:
    """A stored tensor and the tensors that are made of it: itself, or those of a packed module.

    What is `changed` has new bytes.
    """

    tensor: Tensor
    made: tuple[NewTensor, ...]
    module: ModuleToPack | None = None
    pack: Pack | None = None
    changed: bytes | None = None

    @property
    def nbytes(self) -> int:
        return sum(each.nbytes for each in self.made)


@dataclass(frozen=True)
class Rewrite:
    """What becomes of a checkpoint: its entries by the file that they are written to.

    `place` is its config's. Shards of one model have an index.
    """

    place: Location
    files: Mapping[str, tuple[TensorRewrite, ...]]
    config: Mapping[str, Any] = field(repr=False)
    metadata: Mapping[str, str]
    sharded: bool

    @property
    def nbytes(self) -> int:
        return sum(entry.nbytes for entries in self.files.values() for entry in entries)

    @property
    def read(self) -> int:
        """Return the bytes that are read."""
        return sum(e.tensor.nbytes for entries in self.files.values() for e in entries)


def plan_rewrite(packings: Iterable[Packing], headers: Headers, shard: int = SHARD) -> Rewrite:
    """Plan what becomes of the files beside one config, of which each packing packs a part.

    Files that are named, and are no model of a folder, keep their names.
    """
    packings = tuple(packings)
    by_place: dict[Location, list[Packing]] = {}
    for each in packings:
        for place in each.files or (each.weights,):
            by_place.setdefault(place, []).append(each)
    entries: list[TensorRewrite] = []
    for place, parts in by_place.items():
        entries += _entries(headers.safetensors(place), parts)
    first = packings[0]
    config = headers.config(first.config) if headers.exists(first.config) else {}
    modules = [module for each in packings for module in each.modules]
    sharded = len(by_place) == 1 and not next(iter(by_place)).inside.endswith(".safetensors")
    files = _in_shards(entries, shard) if sharded else _by_file(entries)
    config = with_quantization(config, modules)
    return Rewrite(first.config, files, config, first.metadata, sharded and len(files) > 1)


def _entries(stored: TensorIndex, packings: Iterable[Packing]) -> Iterator[TensorRewrite]:
    """Yield what becomes of each tensor."""
    by_tensor: dict[str, list[tuple[ModuleToPack, Pack]]] = {}
    dropped: set[str] = set()
    changed: dict[str, bytes] = {}
    for each in packings:
        dropped |= each.dropped
        changed |= each.changed
        for module in each.modules:
            pack = each.packs.get(module.name, each.pack)
            by_tensor.setdefault(module.stored, []).append((module, pack))
    for name, tensor in stored.items():
        if name in by_tensor:
            for module, pack in by_tensor[name]:
                yield _packed(tensor, module, pack)
        elif name not in dropped:
            made = (NewTensor(name, tensor.dtype, tensor.shape),)
            yield TensorRewrite(tensor, made, changed=changed.get(name))


def _by_file(entries: Iterable[TensorRewrite]) -> dict[str, tuple[TensorRewrite, ...]]:
    """Return entries by the names of the files that they are stored in."""
    files: dict[str, tuple[TensorRewrite, ...]] = {}
    for entry in entries:
        name = entry.tensor.file.inside.rpartition("/")[2]
        files[name] = (*files.get(name, ()), entry)
    return files


def _packed(tensor: Tensor, module: ModuleToPack, pack: Pack) -> TensorRewrite:
    *outer, columns = tensor.shape
    if module.half is not None:
        outer[-1] //= 2
    scheme = module.scheme
    groups, affine = columns // scheme.group_size, scheme.mode == "affine"
    scales = tensor.dtype if affine else "u8"
    made = [
        NewTensor(f"{module.name}.weight", "u32", (*outer, columns * scheme.bits // 32)),
        NewTensor(f"{module.name}.scales", scales, (*outer, groups)),
        NewTensor(f"{module.name}.biases", scales, (*outer, groups)),
    ]
    return TensorRewrite(tensor, tuple(made if affine else made[:2]), module, pack)


def _in_shards(entries: list[TensorRewrite], shard: int) -> dict[str, tuple[TensorRewrite, ...]]:
    """Return entries by the names of the files of a model, each of bounded size."""
    parts: list[list[TensorRewrite]] = [[]]
    size = 0
    for entry in entries:
        if parts[-1] and size + entry.nbytes > shard:
            parts.append([])
            size = 0
        parts[-1].append(entry)
        size += entry.nbytes
    if len(parts) == 1:
        return {"model.safetensors": tuple(entries)}
    count = f"{len(parts):05}"
    named = enumerate(parts, 1)
    return {f"model-{number:05}-of-{count}.safetensors": tuple(part) for number, part in named}


def write_checkpoint(planned: Rewrite, folder: Path, done: Callable[[], None]) -> dict[str, Any]:
    """Write the files of a checkpoint and its config; return where each tensor comes from.

    No more than a piece of a tensor is in memory, and what is made of it. `done` is called after
    each. Raise OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    origins: dict[str, Any] = {}
    for file, entries in planned.files.items():
        tensors = [each for entry in entries for each in entry.made]
        with SafetensorsWriter(folder / file, tensors, planned.metadata) as writer:
            for entry in entries:
                digest = _write(entry, writer)
                done()
                for each in entry.made:
                    origins[each.name] = _origin(entry, digest)
    if planned.sharded:
        _write_index(planned, folder)
    config = json.dumps(planned.config, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(config, "utf-8")
    return origins


def _write_index(planned: Rewrite, folder: Path) -> None:
    places = {}
    for file, entries in planned.files.items():
        places.update({each.name: file for entry in entries for each in entry.made})
    index = {"metadata": {"total_size": planned.nbytes}, "weight_map": dict(sorted(places.items()))}
    text = json.dumps(index, indent=2) + "\n"
    (folder / "model.safetensors.index.json").write_text(text, "utf-8")


def _origin(entry: TensorRewrite, digest: str) -> dict[str, Any]:
    stored = entry.tensor
    origin: dict[str, Any] = {
        "from": str(stored.file),
        "tensor": stored.name,
        "stored": stored.dtype,
    }
    origin["sha256"] = digest
    if entry.changed is not None:
        origin["scaled"] = True
    return {**origin, "packed": entry.module.scheme.title} if entry.module else origin


def _write(entry: TensorRewrite, writer: SafetensorsWriter) -> str:
    """Write what is made of a tensor; return the digest of the bytes that were read of it."""
    digest, module = hashlib.sha256(), entry.module
    assert entry.tensor.file.path is not None
    with ExitStack() as stack:
        file = stack.enter_context(entry.tensor.file.path.open("rb", buffering=0))
        for data in _pieces(entry, file):
            digest.update(data)
            if entry.changed is not None:
                continue
            if module is None or entry.pack is None:
                writer.write(entry.made[0].name, data)
            else:
                tensor = entry.tensor
                parts = entry.pack(data, tensor.dtype, tensor.shape[-1], module.scheme)
                for each, part in zip(entry.made, parts, strict=True):
                    writer.write(each.name, part)
    if entry.changed is not None:
        writer.write(entry.made[0].name, entry.changed)
    return digest.hexdigest()


def _pieces(entry: TensorRewrite, file: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of a tensor, or of a half of it, in pieces of whole rows."""
    tensor, half = entry.tensor, entry.module.half if entry.module else None
    if entry.module is None:
        yield from _read(file, tensor.offset, tensor.nbytes, 1)
        return
    rows = prod(tensor.shape[:-1])
    row = tensor.nbytes // rows
    if half is None:
        yield from _read(file, tensor.offset, tensor.nbytes, row)
        return
    block = tensor.shape[-2] // 2 * row
    for start in range(half * block, tensor.nbytes, 2 * block):
        yield from _read(file, tensor.offset + start, block, row)


def _read(file: BinaryIO, at: int, nbytes: int, row: int) -> Iterator[bytes]:
    file.seek(at)
    most = max(PIECE // row, 1) * row
    while nbytes:
        data = file.read(min(most, nbytes))
        missing = min(most, nbytes) - len(data)
        while missing:
            more = file.read(missing)
            if not more:
                raise OSError(f"{file.name} became shorter while it was read")
            data, missing = data + more, missing - len(more)
        yield data
        nbytes -= len(data)

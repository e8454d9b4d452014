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

from composer.formats.headers import Headers
from composer.formats.packing import PackedModule, Packing
from composer.formats.quantization import Scheme
from composer.formats.safetensors import Tensor
from composer.formats.safetensors_writer import NewTensor, SafetensorsWriter

PIECE = 32_000_000  # bytes that are read at once
SHARD = 5_000_000_000  # bytes of a file, unless one module takes more


@dataclass(frozen=True)
class TensorRewrite:
    """A stored tensor and the tensors that are made of it: itself, or those of a packed module."""

    tensor: Tensor
    made: tuple[NewTensor, ...]
    module: PackedModule | None = None

    @property
    def nbytes(self) -> int:
        return sum(each.nbytes for each in self.made)


@dataclass(frozen=True)
class Rewrite:
    """What becomes of a checkpoint: its entries by the file that they are written to."""

    packing: Packing
    files: Mapping[str, tuple[TensorRewrite, ...]]
    config: Mapping[str, Any] = field(repr=False)

    @property
    def nbytes(self) -> int:
        return sum(entry.nbytes for entries in self.files.values() for entry in entries)

    @property
    def read(self) -> int:
        """Return the bytes that are read."""
        return sum(e.tensor.nbytes for entries in self.files.values() for e in entries)


def plan_rewrite(packings: Iterable[Packing], headers: Headers, shard: int = SHARD) -> Rewrite:
    """Plan what becomes of a checkpoint of which each packing packs a part.

    A file that the manifest names stays one file.
    """
    first, *others = packings
    modules = [module for each in (first, *others) for module in each.modules]
    dropped = frozenset[str]().union(*(each.dropped for each in (first, *others)))
    by_tensor: dict[str, list[PackedModule]] = {}
    for module in modules:
        by_tensor.setdefault(module.stored, []).append(module)
    entries = []
    for name, tensor in headers.safetensors(first.weights).items():
        if name in dropped:
            continue
        for made in by_tensor.get(name, ()):
            entries.append(_packed(tensor, made))
        if name not in by_tensor:
            entries.append(TensorRewrite(tensor, (NewTensor(name, tensor.dtype, tensor.shape),)))
    config = _with_quantization(headers.config(first.config), modules)
    return Rewrite(first, _files(first, entries, shard), config)


def _packed(tensor: Tensor, module: PackedModule) -> TensorRewrite:
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
    return TensorRewrite(tensor, tuple(made if affine else made[:2]), module)


def _files(
    packing: Packing, entries: list[TensorRewrite], shard: int
) -> dict[str, tuple[TensorRewrite, ...]]:
    inside = packing.weights.inside
    if inside.endswith(".safetensors"):
        return {inside.rpartition("/")[2]: tuple(entries)}
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


def _with_quantization(config: Mapping[str, Any], modules: list[PackedModule]) -> dict[str, Any]:
    """Return the config with a quantization as mlx-lm reads it: a default, and what differs."""
    counts: dict[Scheme, int] = {}
    for module in modules:
        counts[module.scheme] = counts.get(module.scheme, 0) + 1
    default = max(counts, key=lambda scheme: counts[scheme])
    table: dict[str, Any] = _plain(default)
    for module in modules:
        if module.scheme != default:
            table[module.key] = _plain(module.scheme)
    return {**config, "quantization": table}


def _plain(scheme: Scheme) -> dict[str, Any]:
    return {"group_size": scheme.group_size, "bits": scheme.bits, "mode": scheme.mode}


def write_checkpoint(planned: Rewrite, folder: Path, done: Callable[[], None]) -> dict[str, Any]:
    """Write the files of a checkpoint and its config; return where each tensor comes from.

    No more than a piece of a tensor is in memory, and what is made of it. `done` is called after
    each. Raise OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    origins: dict[str, Any] = {}
    for file, entries in planned.files.items():
        tensors = [each for entry in entries for each in entry.made]
        with SafetensorsWriter(folder / file, tensors, planned.packing.metadata) as writer:
            for entry in entries:
                digest = _write(entry, planned.packing, writer)
                done()
                for each in entry.made:
                    origins[each.name] = _origin(entry, digest)
    if len(planned.files) > 1:
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
    origin = {"from": str(stored.file), "tensor": stored.name, "stored": stored.dtype}
    origin["sha256"] = digest
    return {**origin, "packed": entry.module.scheme.title} if entry.module else origin


def _write(entry: TensorRewrite, packing: Packing, writer: SafetensorsWriter) -> str:
    """Write what is made of a tensor; return the digest of the bytes that were read of it."""
    digest, module = hashlib.sha256(), entry.module
    assert entry.tensor.file.path is not None
    with ExitStack() as stack:
        file = stack.enter_context(entry.tensor.file.path.open("rb", buffering=0))
        for data in _pieces(entry, file):
            digest.update(data)
            if module is None:
                writer.write(entry.made[0].name, data)
            else:
                tensor = entry.tensor
                parts = packing.pack(data, tensor.dtype, tensor.shape[-1], module.scheme)
                for each, part in zip(entry.made, parts, strict=True):
                    writer.write(each.name, part)
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

"""A private file of weights as ONNX Runtime reads them, beside the graph that names them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from composer.core.errors import ComposerError, Problem

from .proto import Model

DATA, GRAPH = "weights.bin", "decoder"
STORED = {"uint4": "uint8"}  # two in a byte
ALIGNED = 4096


class WeightsFile:
    """Append tensors to the data file of a model, in pieces, so that one piece is in memory.

    Several models may be written over the one file; a tensor of a name is written once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = Model(DATA)
        self.models = [self.model]
        self._offsets: dict[str, int] = {}
        self._file = open(folder / DATA, "xb")  # noqa: SIM115

    def begin(self) -> Model:
        """Begin another model, which all that follows is added to."""
        self.model = Model(DATA)
        self.models.append(self.model)
        return self.model

    @contextmanager
    def branch(self) -> Iterator[Model]:
        """Add what follows to a model that a node of the present one chooses."""
        outer, self.model = self.model, Model(DATA)
        try:
            yield self.model
        finally:
            self.model = outer

    def add(self, name: str, dtype: str, shape: Sequence[int], pieces: Iterable[np.ndarray]) -> str:
        """Add a tensor whose pieces follow one another on its first axis, and return its name."""
        length = _nbytes(dtype, shape)
        if name not in self._offsets:
            self._file.write(bytes(-self._file.tell() % ALIGNED))
            self._offsets[name] = start = self._file.tell()
            for piece in pieces:
                self._file.write(np.ascontiguousarray(piece, STORED.get(dtype, dtype)).data)
            written = self._file.tell() - start
            assert length == written, f"{name} {shape} {written}"
        self.model.external(name, dtype, shape, self._offsets[name], length)
        return name

    def reserve(self, name: str, dtype: str, shape: Sequence[int]) -> int:
        """Add a tensor that is written by `put`, and return where it begins."""
        self._file.write(bytes(-self._file.tell() % ALIGNED))
        self._offsets[name] = start = self._file.tell()
        length = _nbytes(dtype, shape)
        self._file.truncate(start + length)
        self._file.seek(start + length)
        self.model.external(name, dtype, shape, start, length)
        return start

    def put(self, offset: int, piece: np.ndarray) -> None:
        """Write a piece of a tensor that has its place."""
        os.pwrite(self._file.fileno(), np.ascontiguousarray(piece).data, offset)

    def view(self, name: str, dtype: str, shape: Sequence[int], of: str, offset: int) -> str:
        """Add a part of another tensor's bytes as a tensor, and return its name."""
        start = self._offsets[of] + offset
        self.model.external(name, dtype, shape, start, _nbytes(dtype, shape))
        return name

    def end(self) -> None:
        """End the data file."""
        self._file.close()

    def close(self) -> list[Path]:
        """End the data file, write the graphs and return their paths."""
        self.end()
        paths = []
        for number, model in enumerate(self.models):
            path = self.folder / f"{GRAPH}{number}.onnx"
            path.write_bytes(model.serialized())
            paths.append(path)
        return paths


def _nbytes(dtype: str, shape: Sequence[int]) -> int:
    """Return the bytes of a tensor."""
    count = prod(shape)
    return count // 2 if dtype == "uint4" else count * np.dtype(dtype).itemsize


@contextmanager
def private_weights(nbytes: int) -> Iterator[WeightsFile]:
    """Give a folder that nobody else reads, and remove it; raise ComposerError where it is full."""
    try:
        with TemporaryDirectory(prefix="composer-") as made:
            weights = WeightsFile(Path(made))
            try:
                yield weights
            finally:
                weights.end()
    except OSError as error:
        raise ComposerError(
            Problem(
                "R590",
                f"{nbytes / 1e9:.2f} GB of weights could not be written down for ONNX Runtime: "
                f"{error.strerror or error}",
                hint="TMPDIR names the folder: point it at one with room on a disk",
            )
        ) from error

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
ALIGNED = 4096


class WeightsLayout:
    """Where the tensors of a model lie in its data file, of which nothing is written.

    Several models may be laid over the one file; a tensor of a name lies there once.
    """

    def __init__(self) -> None:
        self.model = Model(DATA)
        self.models = [self.model]
        self._offsets: dict[str, int] = {}
        self._end = 0

    def begin(self) -> Model:
        """Begin another model, which all that follows is added to."""
        self.model = Model(DATA)
        self.models.append(self.model)
        return self.model

    @property
    def is_shared(self) -> bool:
        """Return whether an earlier model has the same weights."""
        return len(self.models) > 1

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
        if name not in self._offsets:
            start = self.place(name, dtype, shape)
            self._write(start, self._end, dtype, pieces)
        self.model.external(name, dtype, shape, self._offsets[name], _nbytes(dtype, shape))
        return name

    def reserve(self, name: str, dtype: str, shape: Sequence[int]) -> int:
        """Add a tensor that is written by `put`, and return where it begins."""
        start = self.place(name, dtype, shape)
        self.model.external(name, dtype, shape, start, _nbytes(dtype, shape))
        return start

    def place(self, name: str, dtype: str, shape: Sequence[int]) -> int:
        """Return where a tensor begins that is behind the others; it need not be of a model."""
        start = self._end + -self._end % ALIGNED
        self._offsets[name], self._end = start, start + _nbytes(dtype, shape)
        return start

    def _write(self, start: int, end: int, dtype: str, pieces: Iterable[np.ndarray]) -> None:
        """Write the pieces of a tensor, where any are."""

    def view(self, name: str, dtype: str, shape: Sequence[int], of: str, offset: int) -> str:
        """Add a part of another tensor's bytes as a tensor, and return its name."""
        start = self._offsets[of] + offset
        self.model.external(name, dtype, shape, start, _nbytes(dtype, shape))
        return name

    def read(self, folder: Path, name: str, dtype: str, shape: Sequence[int]) -> np.ndarray:
        """Return a tensor from the data file in a folder."""
        found = np.fromfile(folder / DATA, dtype, prod(shape), offset=self._offsets[name])
        return found.reshape(shape)


class WeightsFile(WeightsLayout):
    """Write the data file of a model in pieces, so that one piece is in memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._file = open(folder / DATA, "xb")  # noqa: SIM115

    def _write(self, start: int, end: int, dtype: str, pieces: Iterable[np.ndarray]) -> None:
        self._file.seek(start)
        for piece in pieces:
            self._file.write(np.ascontiguousarray(piece, dtype).data)
        assert self._file.tell() == end, f"{dtype} {start} {self._file.tell()} {end}"

    def put(self, offset: int, piece: np.ndarray) -> None:
        """Write a piece of a tensor that has its place."""
        os.pwrite(self._file.fileno(), np.ascontiguousarray(piece).data, offset)

    def end(self) -> None:
        """End the data file."""
        if not self._file.closed:
            self._file.flush()
            self._file.truncate(self._end)
        self._file.close()

    def close(self) -> list[Path]:
        """End the data file, write the graphs and return their paths."""
        self.end()
        paths = []
        for number, model in enumerate(self.models):
            path = graph_path(self.folder, number)
            path.write_bytes(model.serialized())
            paths.append(path)
        return paths


def graph_path(folder: Path, number: int) -> Path:
    """Return where one of the models over a data file is."""
    return folder / f"{GRAPH}{number}.onnx"


def _nbytes(dtype: str, shape: Sequence[int]) -> int:
    """Return the bytes of a tensor."""
    return prod(shape) * np.dtype(dtype).itemsize


@contextmanager
def private_weights(nbytes: int) -> Iterator[WeightsFile]:
    """Give the data file of a folder that nobody else reads, which is removed."""
    hint = "TMPDIR names the folder: point it at one with room on a disk"
    with (
        _disk_errors(nbytes, hint),
        TemporaryDirectory(prefix="composer-") as made,
        _ended(WeightsFile(Path(made))) as weights,
    ):
        yield weights


@contextmanager
def kept_weights(folder: Path, nbytes: int) -> Iterator[WeightsFile]:
    """Give the data file of a folder that stays."""
    hint = "--place prepared_gb=0 keeps none, in the cache"
    with _disk_errors(nbytes, hint), _ended(WeightsFile(folder)) as weights:
        yield weights


@contextmanager
def _ended(weights: WeightsFile) -> Iterator[WeightsFile]:
    try:
        yield weights
    finally:
        weights.end()


@contextmanager
def _disk_errors(nbytes: int, hint: str) -> Iterator[None]:
    """Raise R590 where weights cannot be written, as on a full disk."""
    try:
        yield
    except OSError as error:
        raise ComposerError(
            Problem(
                "R590",
                f"{nbytes / 1e9:.2f} GB of weights could not be written down for ONNX Runtime: "
                f"{error.strerror or error}",
                hint=hint,
            )
        ) from error

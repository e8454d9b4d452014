"""A private file of weights as ONNX Runtime reads them, beside the graph that names them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from composer.core.errors import ComposerError, Problem

from .proto import Model

DATA, GRAPH = "weights.bin", "decoder.onnx"
ALIGNED = 4096


class Weights:
    """Append tensors to the data file of a model, in pieces, so that one piece is in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = Model(DATA)
        self._file = open(folder / DATA, "xb")  # noqa: SIM115

    def add(self, name: str, dtype: str, shape: Sequence[int], pieces: Iterable[np.ndarray]) -> str:
        """Add a tensor whose pieces follow one another on its first axis, and return its name."""
        self._file.write(bytes(-self._file.tell() % ALIGNED))
        start = self._file.tell()
        for piece in pieces:
            self._file.write(np.ascontiguousarray(piece, dtype).data)
        length = self._file.tell() - start
        assert length == int(np.prod(shape)) * np.dtype(dtype).itemsize, f"{name} {shape} {length}"
        self.model.external(name, dtype, shape, start, length)
        return name

    def close(self) -> Path:
        """End the data file, write the graph and return its path."""
        self._file.close()
        path = self.folder / GRAPH
        path.write_bytes(self.model.serialized())
        return path


@contextmanager
def private_weights(nbytes: int) -> Iterator[Weights]:
    """Give a folder that nobody else reads, and remove it; raise ComposerError where it is full."""
    try:
        with TemporaryDirectory(prefix="composer-") as made:
            yield Weights(Path(made))
    except OSError as error:
        raise ComposerError(
            Problem(
                "R590",
                f"{nbytes / 1e9:.2f} GB of weights could not be written down for ONNX Runtime: "
                f"{error.strerror or error}",
                hint="TMPDIR names the folder: point it at one with room on a disk",
            )
        ) from error

"""Save values of a graph in a safetensors file, and read them back.

A tensor is stored under its value's name. Audio is a tensor of samples, its rate in the metadata
under `rate NAME`; a text is metadata, under `text NAME`. Other metadata is informative.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composer.core.backend import LONG, widen
from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.formats import read_safetensors
from composer.formats.audio.reading import read_audio
from composer.formats.audio.waveform import Audio

if TYPE_CHECKING:
    import numpy as np

    from composer.formats import Tensor, TensorIndex

RATE, TEXT = "rate ", "text "


def pack_values(values: Mapping[str, Any], about: Mapping[str, str]) -> bytes:
    """Return tapped values as a file, with metadata about their origin."""
    import numpy as np
    from safetensors.numpy import save

    tensors, metadata = {}, dict(about)
    for name, value in values.items():
        if isinstance(value, str):
            metadata[TEXT + name] = value
        elif isinstance(value, Audio):
            metadata[RATE + name] = str(value.rate)
            tensors[name] = np.array(value.samples, order="C")
        else:
            tensors[name] = np.array(value, order="C")
    return bytes(save(tensors, metadata))


def read_value_file(path: Path) -> dict[str, Any]:
    """Read values by name; raise ComposerError unless every byte of the file is accounted for."""
    index = _index(path)
    values = {name: _array(path, tensor) for name, tensor in index.items()}
    return _named(path, values, index.metadata)


def read_metadata(path: Path, key: str) -> str | None:
    """Return one entry of a file's own metadata."""
    return _index(path).metadata.get(key)


def _index(path: Path) -> TensorIndex:
    if not path.is_file():
        what = "this is not a file" if path.exists() else "the file does not exist"
        raise ComposerError(Problem("R542", what, Place(str(path))))
    return read_safetensors(Location(str(path.parent), path.name, path.parent))


def _named(
    path: Path, values: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> dict[str, Any]:
    found: dict[str, Any] = dict(values)
    for key, text in metadata.items():
        if key.startswith(TEXT):
            found[key.removeprefix(TEXT)] = text
        elif key.startswith(RATE):
            name = key.removeprefix(RATE)
            if name not in values or not text.isdecimal():
                message = f"the metadata '{key}' is '{text[:20]}', not the sample rate of a tensor"
                raise ComposerError(Problem("R542", message, Place(str(path))))
            found[name] = read_audio((values[name], int(text)))
    return found


def _array(path: Path, tensor: Tensor) -> np.ndarray:
    """Read one tensor; bfloat16, which NumPy does not support, as float32."""
    import numpy as np

    stored = "u16" if tensor.dtype == "bf16" else tensor.dtype
    if stored not in LONG:
        message = f"tensor '{tensor.name}' is {tensor.dtype}, which is not a dtype of graph values"
        raise ComposerError(Problem("R542", message, Place(str(path))))
    dtype = np.dtype(LONG[stored]).newbyteorder("<")
    count = tensor.nbytes // dtype.itemsize
    flat = np.fromfile(path, dtype, count, offset=tensor.offset)
    if tensor.dtype == "bf16":
        flat = widen(flat, "bf16")
    return flat.reshape(tensor.shape)

"""Open a source of encoded audio: a path, the bytes of a file, or a file that is open."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from composer.formats.audio.audio_problems import audio_error

Encoded = str | Path | bytes | BinaryIO


@dataclass(frozen=True)
class OpenedFile:
    """A file that can be read and sought, its size in bytes, and its name in messages."""

    file: BinaryIO
    size: int
    name: str


def is_encoded(source: Any) -> TypeGuard[Encoded]:
    """Return whether a source is the bytes of a file, or where they are."""
    return isinstance(source, (str, Path, bytes, io.IOBase))


@contextmanager
def opened(source: Encoded) -> Iterator[OpenedFile]:
    """Open a source from its start; raise S480 where it cannot be opened.

    A file that was open stays so.
    """
    if isinstance(source, bytes):
        yield OpenedFile(io.BytesIO(source), len(source), "<bytes>")
    elif isinstance(source, (str, Path)):
        with _opened_path(Path(source)) as file:
            yield OpenedFile(file, os.fstat(file.fileno()).st_size, str(source))
    else:
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        yield OpenedFile(source, size, "<file>")


def _opened_path(path: Path) -> BinaryIO:
    name = str(path)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            found = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
            hint = (
                "name a file in it"
                if stat.S_ISDIR(mode)
                else "give - and pipe it in (its bytes in Python)"
            )
            raise audio_error("S480", name, f"the audio is {found}, not a file", hint)
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise audio_error("S480", name, f"the audio file cannot be opened: {reason}") from error

"""Identify a source of audio by its bytes."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from composer.formats.audio.reading import Source
from composer.formats.audio.waveform import Audio


def source_digest(source: Source) -> str | None:
    """Return the SHA-256 of a source's bytes, or of its rate and samples.

    None is that of a file that cannot be read, or of a pipe, whose bytes are read once.
    """
    if isinstance(source, str | Path):
        try:
            if not stat.S_ISREG(os.stat(source).st_mode):
                return None
            with open(source, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError):
            return None
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if not isinstance(source, tuple | Audio):
        source.seek(0)
        return hashlib.file_digest(source, "sha256").hexdigest()  # type: ignore[arg-type]
    samples, rate = (source.samples, source.rate) if isinstance(source, Audio) else source
    head = f"{samples.dtype} {list(samples.shape)} {rate} "
    return hashlib.sha256(head.encode() + samples.tobytes()).hexdigest()

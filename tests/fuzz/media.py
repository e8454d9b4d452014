"""Sound clips, pictures and results, and what reads them."""

import io
import json
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from composer.core.errors import ComposerError
from composer.evaluation.journal import read_results
from composer.formats.audio.reading import read_audio

RNG = np.random.default_rng(1)
SOUNDS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("RF64", "PCM_24"),
          ("AIFF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")]  # fmt: skip
PICTURES = [("PNG", "RGB"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("JPEG", "L"),
            ("WEBP", "RGB"), ("GIF", "P"), ("BMP", "RGB")]  # fmt: skip


def read_sound(data: bytes) -> None:
    """Read a clip whole, and as one that was cut short."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        for partial in (False, True):
            with suppress(ComposerError):
                read_audio(file.name, partial=partial)


def read_lines(data: bytes) -> None:
    """Read the results of an evaluation."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        read_results(Path(file.name))


def sounds() -> tuple[bytes, ...]:
    """Return a tenth of a second in each container and codec."""
    found = []
    for container, codec in SOUNDS:
        file = io.BytesIO()
        soundfile.write(file, RNG.normal(0, 0.1, 1600), 16_000, codec, format=container)
        found.append(file.getvalue())
    return tuple(found)


def pictures() -> tuple[bytes, ...]:
    """Return a small picture of each kind."""
    image = Image.fromarray(RNG.integers(0, 256, (16, 24, 3), np.uint8))
    found = []
    for kind, mode in PICTURES:
        file = io.BytesIO()
        image.convert(mode).save(file, kind)
        found.append(file.getvalue())
    return tuple(found)


def results() -> tuple[bytes, ...]:
    """Return a file of two results."""
    lines = [
        {"evaluation": 1, "bundle": {"name": "tiny"}},
        {"id": "a", "sha256": "0" * 64, "seconds": 1.5, "reference": "x", "hypothesis": "y"},
        {"id": "b", "sha256": None, "seconds": None, "reference": "x", "error": [{"code": "S480"}]},
    ]
    return ("".join(f"{json.dumps(line)}\n" for line in lines).encode(),)

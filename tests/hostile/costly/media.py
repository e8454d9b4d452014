"""Clips, pictures and feature extractors that make much of little."""

import io
import struct
import zlib

import numpy as np
import soundfile

from tests.hostile.costly.case import input_run
from tests.hostile.making import HEAD
from tests.hostile.test_audio import MEL, READ, REFUSED
from tests.test_audio import TONE, encoded, with_total

PIXELS = (
    HEAD
    + """components:
  pixels: {use: image.pixels, config: {size: {height: 64, width: 64}}}
inputs: {image: image}
graph:
  grid: {run: pixels, with: {image: $image}}
outputs: {grid: $grid}
"""
)
HOUR = 16_000 * 3600


def silence(seconds, rate=16_000, channels=1, stated=True):
    """Return FLAC of silence: a few hundred bytes a minute."""
    file = io.BytesIO()
    block = np.zeros((rate * 60, channels), np.int16)
    with soundfile.SoundFile(file, "w", rate, channels, format="FLAC") as written:
        for _ in range(seconds // 60):
            written.write(block)
    data = file.getvalue()
    return data if stated else with_total(data, 0)


def png(width, height, bits=8, kind=2, rows=None):
    """Return a picture of one colour, whose data unpack to as many rows."""
    line = 1 + width * {0: 1, 2: 3}[kind] * bits // 8
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(line)) for _ in range(height if rows is None else rows))
    body += packer.flush()
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(name, data) for name, data in ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    )


def chunk(name, data):
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def text_bomb():
    """Return a picture with a compressed comment of a gigabyte."""
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1000)) + packer.flush()
    whole = png(4, 4)
    at = len(b"\x89PNG\r\n\x1a\n") + 25
    return whole[:at] + chunk(b"zTXt", b"Comment\0\0" + body) + whole[at:]


def clip(data, text=MEL):
    """Return a case of a clip."""
    return input_run(text, "audio", "clip.wav", data)


def picture(data):
    """Return a case of a picture."""
    return input_run(PIXELS, "image", "picture.png", data)


def mel(config):
    """Return a manifest of other features."""
    return MEL.replace("mels: 80, rate: 16000", config)


COMPRESSED = {
    "ten hours by a header": with_total(encoded(container="FLAC"), 10 * HOUR),
    "an hour of FLAC, 60 kB": lambda: silence(3600),
    "nine hours of FLAC of unstated length": lambda: silence(9 * 3600, stated=False),
    "eight channels at 384 kHz": lambda: silence(60, 384_000, 8),
}
MEDIA = {
    **{name: clip(data) for name, (data, _) in REFUSED.items()},
    **{name: clip(data) for name, data in READ.items()},
    **{name: clip(data) for name, data in COMPRESSED.items()},
    "nine hours of FLAC, 512 filters": clip(
        lambda: silence(9 * 3600), mel("mels: 512, rate: 16000, n_fft: 4096")
    ),
    "hop 1 at 384 kHz": clip(
        lambda: silence(60, 384_000), mel("mels: 512, rate: 384000, n_fft: 16384, hop: 1")
    ),
    "300 s of padding": clip(
        encoded(TONE[:50]),
        mel("mels: 512, rate: 384000, n_fft: 16384, hop: 12, pad: {seconds: 300}"),
    ),
    "512 filters of 16 bins": clip(encoded(), mel("mels: 512, rate: 16000, n_fft: 16, hop: 16")),
    "a picture of 65 535 by 65 535": picture(lambda: png(65_535, 65_535, rows=10)),
    "80 million pixels, 240 kB": picture(lambda: png(8_900, 8_900)),
    "a million rows for a hundred": picture(lambda: png(1_000, 100, rows=1_000_000)),
    "a comment of a gigabyte": picture(text_bomb),
}  # fmt: skip

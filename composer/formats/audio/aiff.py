"""Find the audio in an AIFF or AIFF-C file."""

from __future__ import annotations

from typing import BinaryIO

from composer.formats.audio.container_parts import (
    FrameCount,
    Part,
    PartsAndFault,
    truncated_fault,
    unsupported_fault,
)
from composer.formats.audio.joined import joined_fault
from composer.formats.audio.spliced import SplicedFile
from composer.formats.audio.wav_chunks import find_data_chunk, iter_chunks

_PLAIN = {"NONE", "twos", "sowt", "raw ", "in24", "in32", "42ni", "23ni", "FL32", "fl32", "FL64",
          "fl64", "alaw", "ALAW", "ulaw", "ULAW"}  # fmt: skip
_READ = _PLAIN | {"ima4", "GSM "}
_NAMES = {
    "MAC3": "MACE 3:1",
    "MAC6": "MACE 6:1",
    "QDM2": "QDesign Music",
    "QDMC": "QDesign Music",
    "Qclp": "Qualcomm PureVoice",
    ".mp3": "MP3",
    "ADP4": "G.722",
    "G722": "G.722",
    "DWVW": "DWVW",
}


def find_aiff_parts(file: BinaryIO, size: int) -> PartsAndFault:
    """Return the samples of an AIFF as one part."""
    common, found, joined = b"", None, None
    for name, start, length in iter_chunks(file, size, "big"):
        file.seek(start)
        if name == b"COMM":
            common = file.read(min(length, 4096))
        elif name == b"SSND":
            found = find_data_chunk(file, size, "big", start, length)
        elif found and (joined := joined_fault("AIFF", file, start - 8, size)):
            break
    if found and found.streamed:
        joined = joined_fault("AIFF", file, found.after, size)
    file.seek(8)
    compressed = file.read(4) == b"AIFC"
    codec = common[18:22].decode("latin1") if compressed else "NONE"
    if common and codec not in _READ:
        return [], unsupported_fault("AIFF", _NAMES.get(codec, f"the codec {codec!r}"))
    if found is None or found.length < 8:
        return [], truncated_fault("AIFF", "it has no audio data")
    length = min(found.length, size - found.start)
    fault = None
    if found.length != length or found.stated not in (None, found.length):
        how = f"its header declares {found.stated} bytes of samples, but the file has {length}"
        fault = truncated_fault("AIFF", how)
    head = _head(common, compressed, length)
    spliced = SplicedFile(file, [head, (found.start, found.start + length)])
    stated = int.from_bytes(common[2:6], "big")
    frames = None
    if stated and found.stated is not None and codec in _PLAIN:
        frames = FrameCount(stated)
    return [Part(spliced, frames)], fault or joined


def _head(common: bytes, compressed: bool, length: int) -> bytes:
    """Return a header with correct sizes, from which libsndfile counts frames."""
    comm = b"COMM" + len(common).to_bytes(4, "big") + common + bytes(len(common) % 2)
    kind, version = b"AIFF", b""
    if compressed:
        kind, version = b"AIFC", b"FVER" + (4).to_bytes(4, "big") + bytes.fromhex("a2805140")
    total = 4 + len(version) + len(comm) + 8 + length
    head = b"FORM" + min(total, 0xFFFFFFFF).to_bytes(4, "big") + kind + version + comm
    return head + b"SSND" + min(length, 0xFFFFFFFF).to_bytes(4, "big")

"""Find the audio in a WAV or RF64, and name its codec."""

from __future__ import annotations

from typing import BinaryIO

from composer.formats.audio.container_parts import (
    AudioFault,
    FrameCount,
    Part,
    PartsAndFault,
    truncated_fault,
    unsupported_fault,
)
from composer.formats.audio.joined import joined_fault
from composer.formats.audio.spliced import SplicedFile
from composer.formats.audio.wav_chunks import SampleChunk, find_data_chunk, iter_chunks

_PLAIN = {1, 3, 6, 7}  # PCM, float, A-law, mu-law: their bytes say how many frames they are
_READ = _PLAIN | {0x02, 0x11, 0x31}  # and MS ADPCM, IMA ADPCM, GSM 6.10
_NAMES = {
    0x0050: "MP2",
    0x0055: "MP3",
    0x00FF: "AAC",
    0x1602: "AAC",
    0x1610: "AAC",
    0xA106: "AAC",
    0x0040: "G.721 ADPCM",
    0x0045: "G.726 ADPCM",
    0x0064: "G.726 ADPCM",
    0x0014: "G.723 ADPCM",
    0xA100: "G.723.1",
    0x0042: "G.723.1",
    0x0065: "G.722",
    0x028F: "G.722",
    0x0083: "G.729",
    0x0022: "TrueSpeech",
    0x0160: "Windows Media Audio",
    0x0161: "Windows Media Audio",
    0x0162: "Windows Media Audio",
    0x0163: "Windows Media Audio",
    0x2000: "AC-3",
    0x2001: "DTS",
    0x566F: "Vorbis",
    0x674F: "Vorbis",
    0xF1AC: "FLAC",
    0xA109: "Speex",
    0x704F: "Opus",
    0x0038: "AMR",
    0x7361: "AMR",
    0x0270: "ATRAC3",
    0x2048: "Sonic",
    0x5346: "SWF ADPCM",
    0x87AF: "E-AC-3",
    0xC13A: "DFPWM",
    0x0020: "Yamaha ADPCM",
    0x0061: "Duck ADPCM",
}


def find_wav_parts(file: BinaryIO, size: int) -> PartsAndFault:
    """Return the samples of a WAV or RF64 as one part, and those that are joined to it."""
    parts: list[Part] = []
    at, form, long = 12, b"", None
    while at < size:
        for name, start, length in iter_chunks(file, size, "little", at):
            file.seek(start)
            if name == b"ds64":
                long = int.from_bytes(file.read(16)[8:], "little")
            elif name == b"fmt ":
                form = file.read(min(length, 4096))
            elif name in (b"RIFF", b"RF64") and file.read(4) == b"WAVE":
                at, form, long = start + 4, b"", None
                break
            elif name == b"data":
                found = find_data_chunk(file, size, "little", start, length, long)
                fault = _codec_fault(form)
                if fault is None:
                    part, fault = _samples(file, size, form, found)
                    parts.append(part)
                if fault:
                    return parts, fault
                at = found.after
                break
        else:
            break
    if not parts:
        return [], _codec_fault(form) or truncated_fault("WAV", "it has no audio data")
    return parts, joined_fault("WAV", file, at, size)


def _codec_fault(form: bytes) -> AudioFault | None:
    """Return the fault of a format that is not read."""
    tag = _tag(form)
    bits = int.from_bytes(form[14:16], "little")
    if tag == 1 and bits > 32:
        return unsupported_fault("WAV", f"PCM of {bits} bits")
    if form and tag not in _READ:
        return unsupported_fault("WAV", _NAMES.get(tag, f"the codec {tag:#06x}"))
    return None


def _tag(form: bytes) -> int:
    tag = int.from_bytes(form[:2], "little")
    return int.from_bytes(form[24:26], "little") if tag == 0xFFFE else tag


def _samples(
    file: BinaryIO, size: int, form: bytes, found: SampleChunk
) -> tuple[Part, AudioFault | None]:
    """Return a chunk of samples, and its fault where its header states another length."""
    there = found
    if found.length > size - found.start:
        there = SampleChunk(found.start, size - found.start, None)
    part = _part(file, form, there)
    if there is found and found.stated in (None, found.length):
        return part, None
    how = f"its header declares {found.stated} bytes of samples, but the file has {there.length}"
    return part, truncated_fault("WAV", how)


def _part(file: BinaryIO, form: bytes, found: SampleChunk) -> Part:
    """Return the samples after a header with correct sizes, even above 32 bits."""
    fmt = b"fmt " + len(form).to_bytes(4, "little") + form + bytes(len(form) % 2)
    total = 4 + len(fmt) + 8 + found.length
    if total < 0xFFFFFF00:
        head = b"RIFF" + total.to_bytes(4, "little") + b"WAVE" + fmt
        head += b"data" + found.length.to_bytes(4, "little")
    else:
        sizes = [total + 36, found.length, 0]
        ds64 = b"".join(each.to_bytes(8, "little") for each in sizes) + bytes(4)
        head = b"RF64" + b"\xff" * 4 + b"WAVE" + b"ds64" + (28).to_bytes(4, "little") + ds64
        head += fmt + b"data" + b"\xff" * 4
    align = int.from_bytes(form[12:14], "little")
    frames = FrameCount(found.length // align) if _tag(form) in _PLAIN and align else None
    return Part(SplicedFile(file, [head, (found.start, found.start + found.length)]), frames)

"""Identify an audio container by its first bytes, or another kind of file."""

from __future__ import annotations

import re

from composer.formats.audio.mpeg_header import parse_frame_header

READABLE = ("WAV", "RF64", "AIFF", "FLAC", "Ogg", "MP3")

BY_PYAV = {
    "MP4": "an MP4/M4A file",
    "Matroska": "a WebM/Matroska file",
    "ASF": "a WMA/ASF file",
    "AMR": "an AMR file",
    "ADTS": "a raw AAC stream",
    "CAF": "a CAF file",
}

_HEAD = 4096
_OTHERS = (
    (rb"....ftyp", "an MP4/M4A file"),
    (rb"\x1aE\xdf\xa3", "a WebM/Matroska file"),
    (rb"#!AMR", "an AMR file"),
    (rb"caff", "a CAF file"),
    (rb"\.snd", "an AU file"),
    (rb"riff\x2e\x91\xcf\x11", "a Wave64 file"),
    (rb"\x30\x26\xb2\x75", "a WMA/ASF file"),
    (rb"RIFF....(?!WAVE)", "a RIFF file that is not a WAV"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "a raw AAC stream"),
    (rb"wvpk", "a WavPack file"),
    (rb"TTA1", "a TTA file"),
    (rb"Creative Voice", "a VOC file"),
    (rb"[.X]SoX|XoS\.", "a SoX file"),
    (rb"\.RMF", "a RealMedia file"),
    (rb"FLV", "a Flash video"),
    (rb"[FCZ]WS.", "a Flash file"),
    (rb"\x0b\x77", "a raw AC-3 stream"),
    (rb"\x7f\xfe\x80\x01", "a raw DTS stream"),
    (rb"\x00\x00\x01\xba", "an MPEG program stream"),
    (rb"\x47.{187}\x47", "an MPEG transport stream"),
    (rb"\x06\x0e\x2b\x34", "an MXF file"),
    (rb"\xb7\xd8\x00\x20", "a WTV file"),
    (rb"nut/", "a NUT file"),
    (rb"\x64\xa3", "an IRCAM file"),
    (rb"\xc0\xde\xc2", "a Codec 2 file"),
    (rb"\x89PNG", "a PNG image"),
    (rb"\xff\xd8\xff", "a JPEG image"),
    (rb"GIF8", "a GIF image"),
    (rb"PK\x03\x04", "a zip archive"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"%PDF", "a PDF document"),
    (rb"#EXTM3U|ffconcat", "a playlist"),
    (rb"version https://git-lfs", "a Git LFS pointer"),
    (rb"(?i)\s*(<!doctype|<html|<\?xml)", "a web page"),
)
_KNOWN = tuple((re.compile(pattern, re.DOTALL), name) for pattern, name in _OTHERS)


def container_of(head: bytes) -> str | None:
    """Return which of READABLE a file is by its first bytes, or None."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "WAV" if head[:4] == b"RIFF" else "RF64"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    if head[:4] == b"fLaC":
        return "FLAC"
    if head[:4] == b"OggS":
        return "Ogg"
    return "MP3" if head[:3] == b"ID3" or parse_frame_header(head[:4]) else None


def container_of_pyav(head: bytes) -> str | None:
    """Return which container that PyAV reads a file is by its first bytes, or None."""
    found = describe(head)
    return next((kind for kind, name in BY_PYAV.items() if name == found), None)


def describe(head: bytes) -> str:
    """Describe a file that is not readable audio."""
    for pattern, name in _KNOWN:
        if pattern.match(head):
            return name
    try:
        head.decode("utf-8", errors="strict" if len(head) < _HEAD else "ignore")
    except UnicodeDecodeError:
        return f"unknown: it starts with {head[:4].hex(' ')}"
    printable = not re.search(rb"[\x00-\x08\x0e-\x1f]", head)
    return "text" if printable else f"unknown: it starts with {head[:4].hex(' ')}"

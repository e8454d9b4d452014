"""Find the streams of an MPEG audio file (MP3, MP2), counting their frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from composer.formats.audio.container_parts import (
    AudioFault,
    FrameCount,
    Part,
    PartsAndFault,
    damaged_fault,
    truncated_fault,
    unsupported_fault,
)
from composer.formats.audio.joined import joined_fault
from composer.formats.audio.mpeg_header import Header, parse_frame_header
from composer.formats.audio.spliced import SplicedFile
from composer.formats.audio.tags import audio_range, find_all, id3_end

_ADTS = (b"\xff\xf0", b"\xff\xf1", b"\xff\xf8", b"\xff\xf9")
_DELAY = 529  # samples that a decoder gives before the first, and libmpg123 leaves out


@dataclass
class _Stream:
    """A run of equal frames, with the fields of its Xing or Info frame."""

    first: Header
    start: int
    sound: int  # where its first frame with sound starts
    frames: int = 0
    stop: int = 0
    declared: int | None = None
    nbytes: int | None = None


def find_mpeg_parts(file: BinaryIO, size: int) -> PartsAndFault:
    """Return the streams of an MPEG file, each with its actual number of frames."""
    at, stop = audio_range(file, size)
    if at >= size:
        return [], truncated_fault("MP3", "the file ends inside its ID3 tag")
    streams: list[_Stream] = []
    fault = None
    while at < stop:
        file.seek(at)
        head = file.read(4)
        found = parse_frame_header(head)
        if found is None:
            if not streams and head[:2] in _ADTS:
                return [], unsupported_fault("MP3", "raw AAC after its ID3 tag")
            after = id3_end(file, at, stop)
            if after == at:
                fault = joined_fault("MP3", file, at, stop) or _check_gap(file, at, stop)
                break
            at = after
            continue
        if at + found.size > stop:
            fault = truncated_fault("MP3", f"its last frame, at byte {at}, is cut off")
            break
        xing = _xing(file, at, found) if found.layer == 3 else None
        if xing:
            streams.append(_Stream(found, at, at + found.size, 0, at + found.size, *xing))
        else:
            if not streams or found.sound != streams[-1].first.sound:
                streams.append(_Stream(found, at, at))
            streams[-1].frames += 1
            streams[-1].stop = at + found.size
        at += found.size
    for stream in streams:
        truncation = _truncation(stream, size if stream is streams[-1] else stream.stop)
        fault = truncated_fault("MP3", truncation) if truncation else fault
    parts = [_part(file, stream) for stream in streams if stream.frames]
    return parts, fault if parts or fault else truncated_fault("MP3", "it has no frame")


def _truncation(stream: _Stream, size: int) -> str | None:
    if stream.nbytes is not None and stream.start + stream.nbytes > size:
        present = size - stream.start
        return f"its header declares {stream.nbytes} bytes of frames, but the file has {present}"
    if stream.declared is not None and stream.declared > stream.frames + 1:
        return f"its header declares {stream.declared} frames, but the file has {stream.frames}"
    return None


def _check_gap(file: BinaryIO, at: int, stop: int) -> AudioFault | None:
    """Return the fault of bytes between frames, or None if no frame follows."""
    for place in find_all(file, b"\xff", at, stop):
        file.seek(place)
        found = parse_frame_header(file.read(4))
        if found is None:
            continue
        file.seek(place + found.size)
        second = parse_frame_header(file.read(4))
        if second and second.sound == found.sound:
            return damaged_fault("MP3", f"bytes {at} to {place} are no frames")
    return None


def _xing(file: BinaryIO, at: int, found: Header) -> tuple[int | None, int | None] | None:
    """Return the frames and bytes that a Xing or Info frame declares, or None."""
    file.seek(at + 4 + found.side)
    data = file.read(16)
    if data[:4] not in (b"Xing", b"Info") or len(data) < 16:
        return None
    flags = int.from_bytes(data[4:8], "big")
    fields = [int.from_bytes(data[8:12], "big"), int.from_bytes(data[12:16], "big")]
    return fields[0] if flags & 1 else None, fields[flags & 1] if flags & 2 else None


def _part(file: BinaryIO, stream: _Stream) -> Part:
    """Return a stream with a new Xing frame of its actual length, for the decoder."""
    first = stream.first
    count = stream.frames * first.samples
    if first.layer != 3 or (stream.declared or 0) >= stream.frames:
        slack = 4096  # the delay and padding of an encoder, which its LAME tag states
        pieces: list[bytes | tuple[int, int]] = [(stream.start, stream.stop)]
        return Part(SplicedFile(file, pieces), FrameCount(count, fewer=slack))
    raw = bytes([first.raw[0], first.raw[1] | 1, first.raw[2] & 0x0D | 0xE0, first.raw[3]])
    rewritten = parse_frame_header(raw)
    assert rewritten is not None
    xing = b"Xing" + (1).to_bytes(4, "big") + stream.frames.to_bytes(4, "big")
    frame = (raw + bytes(first.side) + xing).ljust(rewritten.size, b"\0")
    spliced = SplicedFile(file, [frame, (stream.sound, stream.stop)])
    return Part(spliced, FrameCount(count, fewer=_DELAY))

"""The audio that a client of a realtime session sends: its format, and what is not committed."""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass, field
from typing import Any

from composer.server.errors import bad_request

LONGEST_APPEND = 15 * 2**20  # characters of base64
RATES = {"audio/pcm": (24_000, 16_000), "audio/pcmu": (8000,), "audio/pcma": (8000,)}
CODES = {"audio/pcm": (1, 16), "audio/pcmu": (7, 8), "audio/pcma": (6, 8)}  # of WAV, and its bits


@dataclass(frozen=True)
class AudioFormat:
    """The kind of samples, and their rate in Hz."""

    kind: str = "audio/pcm"
    rate: int = 24_000

    @property
    def sample_bytes(self) -> int:
        """Return the bytes of a sample."""
        return CODES[self.kind][1] // 8

    def wav(self, data: bytes) -> bytes:
        """Return mono samples as a WAV file."""
        return wav_bytes(data, self.kind, self.rate)


@dataclass
class AudioBuffer:
    """The audio of a session that is not committed yet, at most `max_seconds` of it.

    `start` is the number of its first sample in the session.
    """

    max_seconds: float
    data: bytearray = field(default_factory=bytearray)
    start: int = 0

    def append(self, text: Any, format: AudioFormat) -> bytes:
        """Append base64, and return its bytes; raise ApiError for what is none, or too much."""
        if not isinstance(text, str) or len(text) > LONGEST_APPEND:
            raise bad_request(f"'audio' is base64 of at most {LONGEST_APPEND} characters", "audio")
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise bad_request("'audio' is no base64", "audio") from None
        limit = int(self.max_seconds * format.rate) * format.sample_bytes
        if len(self.data) + len(data) > limit:
            message = f"the buffer takes {self.max_seconds:g} s: commit or clear it"
            raise bad_request(message, "audio", "input_audio_buffer_full")
        self.data += data
        return data

    def take(self, format: AudioFormat, end: int | None = None) -> bytes:
        """Return what was appended, up to a sample, as a WAV file, and keep it no longer.

        Raise ApiError where that is nothing, or ends inside a sample.
        """
        count = len(self.data)
        if end is not None:
            count = min(count, (end - self.start) * format.sample_bytes)
        if not count:
            message = "the buffer is empty: append audio before it is committed"
            raise bad_request(message, None, "input_audio_buffer_commit_empty")
        if count % format.sample_bytes:
            raise bad_request("the buffer ends inside a sample", None, "input_audio_buffer_odd")
        data = bytes(self.data[:count])
        self.drop(format, self.start + count // format.sample_bytes)
        return format.wav(data)

    def drop(self, format: AudioFormat, end: int | None = None) -> None:
        """Let go of what is before a sample, or of everything."""
        size = format.sample_bytes
        count = len(self.data)
        if end is not None:
            count = min(count // size * size, max(0, (end - self.start) * size))
        del self.data[:count]
        self.start += count // size


def wav_bytes(data: bytes, kind: str, rate: int) -> bytes:
    """Return mono samples as a WAV file."""
    code, bits = CODES[kind]
    size = bits // 8
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, code, 1, rate, rate * size, size, bits)
    samples = struct.pack("<4sI", b"data", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(head) + len(samples)) + b"WAVE" + head + samples

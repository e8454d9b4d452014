"""The standard streams of a command, whatever whoever started it has made of them."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import Any


def prepare_streams() -> None:
    """Open those that were closed, escape what an encoding lacks, and never fail on notes."""
    _open_closed()
    if isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr is sys.__stderr__:
        sys.stderr = _lossy(sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="escaped")


def flush_streams() -> None:
    """Print what is still in the buffers, as far as anybody reads it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


def close_stdout() -> None:
    """Send what is still to be printed nowhere, so that Python's own exit stays quiet too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Lossy(io.FileIO):
    """A stream of notes: what it has no room or no reader for is dropped, and the work goes on."""

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError:
            return len(data)  # type: ignore[arg-type]


def _lossy(stream: io.TextIOWrapper[Any]) -> io.TextIOWrapper[Any]:
    raw = _Lossy(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=True
    )


def _open_closed() -> None:
    """Give a standard stream that was closed (`>&-`) an end that leads nowhere.

    Python leaves it None, and the next file that is opened would take its number.
    """
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            end = os.open(os.devnull, os.O_RDWR)
            os.dup2(end, number)
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115


def _escape_undecodable(error: UnicodeError) -> tuple[str, int]:
    """Write what a terminal's encoding lacks as JSON writes it, in pairs of surrogates."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs), error.end


codecs.register_error("escaped", _escape_undecodable)

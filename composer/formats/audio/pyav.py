"""PyAV, which decodes what libsndfile does not: an extra, imported only where it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Self

import numpy as np

from composer.formats.audio.container_parts import (
    AudioFault,
    FrameCount,
    Part,
    damaged_fault,
    unsupported_fault,
)

INSTALL = "pip install 'bundle-composer[av]'"
# FFmpeg's name of each container: it is not left to guess, since it has formats that open others.
FORMATS = {
    "MP4": "mp4",
    "Matroska": "matroska",
    "ASF": "asf",
    "AMR": "amr",
    "ADTS": "aac",
    "CAF": "caf",
}
FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}
MISSING, PADDING = 0.1, 0.2  # seconds that may be fewer, or are an encoder's filling


class CannotDecode(Exception):
    """PyAV cannot decode a file, or not all of it."""

    def fault(self, kind: str) -> AudioFault:
        """Return the fault of the file."""
        return damaged_fault(kind, str(self))


class CannotRead(CannotDecode):
    """There is nothing in a file that PyAV decodes."""

    def fault(self, kind: str) -> AudioFault:
        return unsupported_fault(kind, str(self))


def is_installed() -> bool:
    """Return whether there is a PyAV, without importing it."""
    return find_spec("av") is not None


class Sound:
    """The first audio track of a file, read forward in blocks, as soundfile reads."""

    def __init__(self, part: Part, kind: str) -> None:
        import av

        self._kind = kind
        self._errors: tuple[type[Exception], ...] = (av.FFmpegError, EOFError, ValueError)
        try:
            self._container: Any = av.open(part.file, format=FORMATS[kind])
        except self._errors as error:
            raise CannotDecode(_reason(error)) from error
        self._frames = self._decoded()
        try:
            self._first = next(self._frames, None)
            if self._first is None:
                raise CannotDecode("there is no audio in it")
        except BaseException:
            self._container.close()
            raise
        self.samplerate: int = self._first.sample_rate
        self.channels: int = self._first.layout.nb_channels

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def claim(self) -> FrameCount | None:
        """Return the frames that the container states; None where it states none."""
        track = self._container.streams.audio[0]
        if track.duration is not None and track.time_base is not None:
            seconds = float(track.duration * track.time_base)
        elif self._container.duration is not None:
            seconds = self._container.duration / 1e6
        else:
            return None
        rate = self.samplerate
        padding = round(PADDING * rate) if self._kind == "MP4" else 0  # its times are exact
        return FrameCount(round(seconds * rate), round(MISSING * rate), padding, is_claim=True)

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Yield float32 [frames, channels], full scale 1.0, about `size` frames each."""
        waiting: list[np.ndarray] = []
        count = 0
        frame = self._first
        while frame is not None:
            waiting.append(self._samples(frame))
            count += len(waiting[-1])
            if count >= size:
                yield np.concatenate(waiting)
                waiting, count = [], 0
            frame = next(self._frames, None)
        if waiting:
            yield np.concatenate(waiting)

    def _decoded(self) -> Iterator[Any]:
        try:
            if not self._container.streams.audio:
                raise CannotRead("no audio track")
            track = self._container.streams.audio[0]
            if track.codec_context is None:
                raise CannotRead("a codec that FFmpeg does not know")
            track.codec_context.options = {"err_detect": "explode"}
            for packet in self._container.demux(track):
                if packet.is_corrupt:
                    raise CannotDecode("a packet is damaged")
                yield from packet.decode()
        except self._errors as error:
            raise CannotDecode(_reason(error)) from error

    def _samples(self, frame: Any) -> np.ndarray:
        if (frame.sample_rate, frame.layout.nb_channels) != (self.samplerate, self.channels):
            raise CannotDecode("its sample rate or its channels change")
        array = frame.to_ndarray()
        kind = frame.format.name.removesuffix("p")
        samples = array.T if frame.format.is_planar else array.reshape(-1, self.channels)
        if kind not in FULL_SCALE:
            return np.asarray(samples, np.float32)
        scale = FULL_SCALE[kind]
        middle = scale if kind == "u8" else 0.0
        return np.asarray((samples.astype(np.float64) - middle) / scale, np.float32)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip(" .")

"""The `audio` input: one mono waveform, read strictly from a file, bytes or samples."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, Self

import numpy as np

from composer.core.errors import ComposerError, Place, Problem
from composer.formats.containers import READABLE, container, damage, data_chunk, describe, missing

MIN_RATE, MAX_RATE = 4_000, 384_000
MAX_CHANNELS = 8
MAX_SECONDS = 12 * 3600
MAX_SAMPLES = 2**29  # 2 GiB once decoded: 9.3 hours at 16 kHz, 3.1 hours at 48 kHz

_BLOCK = 2**18
_CANCELLED = 1e-3  # a mix this far (60 dB) below its channels is what their difference left
_INTEGERS = {"int16": 2.0**15, "int32": 2.0**31}
_READ_ALL = 2**62  # libsndfile gives a frame count near 2**63 where the file names none


@dataclass(frozen=True, eq=False)
class Audio:
    """A mono waveform: float32 samples [N], their rate in Hz, and where they came from.

    The samples are as the file has them: the mean of its channels, full scale 1.0, and beyond 1.0
    where a float file is.
    """

    samples: np.ndarray
    rate: int
    source: str

    @property
    def frames(self) -> int:
        return len(self.samples)

    @property
    def seconds(self) -> float:
        return self.frames / self.rate

    def at(self, rate: int) -> Self:
        """Return the waveform at another rate, within full scale.

        Resampling is soxr's HQ, which is librosa's default, to ceil(N * rate / own rate) samples.
        What then peaks above 1.0 is divided by its peak, as the loaders of Qwen3-ASR and MERaLiON
        do: a float file over full scale, or a loud one whose resampling overshoots.
        """
        samples = self.samples
        if rate != self.rate:
            import soxr

            samples = soxr.resample(samples, self.rate, rate, quality="HQ")
            wanted = -(-self.frames * rate // self.rate)
            samples = np.pad(samples[:wanted], (0, max(0, wanted - len(samples))))
        peak = _peak(samples)
        if peak > 1.0:
            samples = samples / np.float32(peak)
        return self if samples is self.samples else type(self)(_frozen(samples), rate, self.source)


Source = str | Path | bytes | tuple[np.ndarray, int] | Audio


def read_audio(source: Source) -> Audio:
    """Read WAV, AIFF, FLAC, Ogg (Vorbis, Opus) or MP3; or take samples and their rate.

    Raise ComposerError S480-S489 for what is no whole, finite, audible waveform, as far as its
    format lets that be told: a WAV has no checksum, and an MP3 decoder conceals broken frames, at
    most with a line of libmpg123 on standard error. Samples are 1-D, or [frames, channels] as
    soundfile gives them; int16 and int32 are scaled to full scale 1.0.
    """
    if isinstance(source, Audio):
        return source
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), len(source), "<bytes>")
    if isinstance(source, (str, Path)):
        with _opened(Path(source)) as file:
            return _decode(file, os.fstat(file.fileno()).st_size, str(source))
    if isinstance(source, tuple) and len(source) == 2:
        return _from_samples(*source)
    raise _refused(
        "S481",
        "<audio>",
        f"{type(source).__name__} is no audio",
        "give a path, the bytes of a file, (samples, rate) or an Audio",
    )


def _refused(code: str, name: str, found: str, hint: str | None = None) -> ComposerError:
    return ComposerError(Problem(code, found, Place(name), hint=hint))


def _damaged(kind: str, name: str, how: str) -> ComposerError:
    found = f"the {kind} file is damaged: {how}"
    return _refused("S489", name, found, "fetch it again, or convert it anew")


def _opened(path: Path) -> BinaryIO:
    name = str(path)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            found = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
            hint = "name a file in it" if stat.S_ISDIR(mode) else "read it and give its bytes"
            raise _refused("S480", name, f"the audio is {found}, not a file", hint)
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _refused("S480", name, f"the audio cannot be opened: {reason}") from error


def _decode(file: BinaryIO, size: int, name: str) -> Audio:
    if size == 0:
        raise _refused("S482", name, "the file is empty")
    head = file.read(4096)
    kind = container(head)
    if kind is None:
        raise _refused(
            "S481",
            name,
            f"this is no audio that can be read, but {describe(head)}",
            f"readable are {', '.join(READABLE)}; convert others: ffmpeg -i INPUT -ar 16000 a.wav",
        )
    lost = missing(file, kind, size)
    if lost:
        raise _refused("S483", name, f"the {kind} file is truncated: {lost}", "fetch it again")
    broken = damage(file, kind, size)
    if broken:
        raise _damaged(kind, name, broken)
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            """Never, or soundfile seeks after each block, which fails in a FLAC of no length."""
            return False

    try:
        with Forward(_sized(file, kind, size), "r") as sound:
            rate, channels, promised = sound.samplerate, sound.channels, sound.frames
            _check_format(rate, channels, name)
            if promised < _READ_ALL:
                _check_length(promised, rate, name)
            audio = _mix(_blocks(sound), rate, channels, name)
    except soundfile.LibsndfileError as error:
        raise _damaged(kind, name, str(error).rpartition(": ")[2].strip(" .")) from error
    if promised < _READ_ALL and audio.frames < promised and kind != "MP3":
        found = f"its header promises {promised} frames, and {audio.frames} are there"
        raise _refused("S483", name, f"the {kind} file is truncated: {found}", "fetch it again")
    return audio


def _blocks(sound: Any) -> Iterator[np.ndarray]:
    while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
        yield block


def _sized(file: BinaryIO, kind: str, size: int) -> Any:
    """Return the file as soundfile shall see it: by its content, whatever its name.

    A WAV whose size a pipe left unknown gets its true one, which libsndfile believes.
    """
    chunk = data_chunk(file, kind, size) if kind == "WAV" else None
    patches: dict[int, bytes] = {}
    if chunk is not None and chunk[1] is None:
        start = chunk[0]
        patches[start - 4] = min(size - start, 0xFFFFFFFF).to_bytes(4, "little")
        patches[4] = min(size - 8, 0xFFFFFFFF).to_bytes(4, "little")
    file.seek(0)

    def read(n: int = -1) -> bytes:
        at = file.tell()
        data = bytearray(file.read(n))
        for place, new in patches.items():
            first, last = max(at, place), min(at + len(data), place + len(new))
            if first < last:
                data[first - at : last - at] = new[first - place : last - place]
        return bytes(data)

    def readinto(buffer: Any) -> int:
        data = read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    return SimpleNamespace(read=read, readinto=readinto, seek=file.seek, tell=file.tell)


def _from_samples(samples: Any, rate: Any) -> Audio:
    name = "<samples>"
    hint = "give floats, int16 or int32, [frames] or [frames, channels]"
    dtype = samples.dtype.name if isinstance(samples, np.ndarray) else type(samples).__name__
    known = dtype in _INTEGERS or dtype in ("float16", "float32", "float64")
    if not isinstance(samples, np.ndarray) or not known or samples.ndim not in (1, 2):
        shape = list(getattr(samples, "shape", ()))
        raise _refused("S481", name, f"samples of {dtype} {shape} are no audio", hint)
    if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)):
        raise _refused("S485", name, f"the sample rate is {rate!r}, not a whole number of Hz")
    table = samples.reshape(len(samples), -1) if samples.size else samples.reshape(0, 1)
    _check_format(int(rate), table.shape[1], name)
    scale = np.float32(1.0 / _INTEGERS.get(dtype, 1.0))
    starts = range(0, len(table), _BLOCK)
    with np.errstate(over="ignore"):
        blocks = (table[start : start + _BLOCK].astype(np.float32) * scale for start in starts)
        return _mix(blocks, int(rate), table.shape[1], name)


def _mix(blocks: Iterator[np.ndarray], rate: int, channels: int, name: str) -> Audio:
    """Average the channels block by block, so that memory is what the mono samples take."""
    parts: list[np.ndarray] = []
    frames = 0
    loudest = 0.0
    for block in blocks:
        with np.errstate(over="ignore", invalid="ignore"):
            mono = block.mean(axis=1) if channels > 1 else block[:, 0].copy()
        if not np.isfinite(mono).all():
            at = frames + int(np.argmin(np.isfinite(mono)))
            found = f"sample {at} ({at / rate:.3f} s) is not a finite number"
            raise _refused("S484", name, found, "the file is corrupt, or was made so: render anew")
        frames += len(block)
        _check_length(frames, rate, name)
        loudest = max(loudest, _peak(block))
        parts.append(mono)
    if not frames:
        raise _refused("S482", name, "there are no samples in it")
    samples = np.concatenate(parts)
    peak = _peak(samples)
    if channels > 1 and peak < _CANCELLED * loudest:
        found = f"the {channels} channels cancel: they peak at {loudest:.3g}, their mean at"
        hint = (
            "one channel is inverted: give a single channel, ffmpeg -i INPUT -af pan='mono|c0=c0'"
        )
        raise _refused("S488", name, f"{found} {peak:.3g}", hint)
    return Audio(_frozen(samples), rate, name)


def _check_format(rate: int, channels: int, name: str) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        found = f"the sample rate is {rate} Hz"
        raise _refused("S485", name, found, f"it must be {MIN_RATE} to {MAX_RATE} Hz")
    if not 1 <= channels <= MAX_CHANNELS:
        found = f"there are {channels} channels"
        raise _refused("S486", name, found, f"give 1 to {MAX_CHANNELS}, or a mono mix")


def _check_length(frames: int, rate: int, name: str) -> None:
    limit = min(MAX_SAMPLES, MAX_SECONDS * rate)
    if frames > limit:
        found = f"the audio is longer than {limit / rate / 3600:.3g} hours at {rate} Hz"
        raise _refused("S487", name, found, "split it, or convert it to 16000 Hz")


def _peak(samples: np.ndarray) -> float:
    """Return the largest magnitude without a copy; 0 of nothing."""
    return max(float(samples.max()), -float(samples.min())) if samples.size else 0.0


def _frozen(samples: np.ndarray) -> np.ndarray:
    samples.flags.writeable = False
    return samples

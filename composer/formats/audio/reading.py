"""Read the `audio` input strictly from a file, bytes or samples."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, BinaryIO

import numpy as np

from composer.formats.audio import aiff, av_containers, flac, mpeg, ogg, pyav, riff
from composer.formats.audio.audio_problems import audio_error, check_format
from composer.formats.audio.channels import Channel, check_channel_choice, mix_channels
from composer.formats.audio.container import READABLE, container_of, container_of_pyav, describe
from composer.formats.audio.container_parts import AudioFault, PartsAndFault
from composer.formats.audio.decoding import decode
from composer.formats.audio.opening import Encoded, OpenedFile, is_encoded, opened
from composer.formats.audio.recording import Recording
from composer.formats.audio.tags import id3_end
from composer.formats.audio.waveform import Audio, Channels

Source = Encoded | tuple[np.ndarray, int] | Audio

PART_FINDERS: dict[str, Callable[[BinaryIO, int], PartsAndFault]] = {
    "WAV": riff.find_wav_parts,
    "RF64": riff.find_wav_parts,
    "AIFF": aiff.find_aiff_parts,
    "FLAC": flac.find_flac_parts,
    "Ogg": ogg.find_ogg_parts,
    "MP3": mpeg.find_mpeg_parts,
    **av_containers.PART_FINDERS,
}
_BLOCK = 2**18
_HEAD = 4096
_INTEGERS = {"int16": 2.0**15, "int32": 2.0**31}


def read_audio(
    source: Source,
    *,
    channel: Channel = "mix",
    partial: bool = False,
    max_seconds: float | None = None,
) -> Audio:
    """Read WAV, AIFF, FLAC, Ogg (Vorbis, Opus) or MP3; or take samples and their rate.

    With PyAV (`pip install 'bundle-composer[av]'`) also MP4, WebM, ASF, AMR, AAC and CAF.

    A file is a path, its bytes, or open for reading and seeking in binary.

    Raise ComposerError S480-S489 for what is not a complete, finite, audible waveform, as far as
    its format shows that: a WAV has no checksum, and an MP3 decoder conceals broken frames,
    at most with a line of libmpg123 on standard error. All audio of the file is decoded, whatever
    its header states. Samples are 1-D, or [frames, channels] as soundfile gives them; int16 and
    int32 are scaled to full scale 1.0. `channel` takes the mean of the channels or one of them;
    `partial` reads a recording that was cut short as far as it goes, and the notes of the Audio say
    so. What is longer than `max_seconds` is refused as soon as that is known.
    """
    if channel == "each":
        raise audio_error("S481", "<audio>", "one waveform cannot be each channel", "read_channels")
    (audio,) = _whole(_read(source, channel, partial, max_seconds))
    return audio


def read_channels(
    source: Source, *, partial: bool = False, max_seconds: float | None = None
) -> Channels:
    """Read each channel as a separate waveform."""
    return Channels(_whole(_read(source, "each", partial, max_seconds)))


def read_long(
    source: Source,
    *,
    channel: Channel = "mix",
    partial: bool = False,
    max_seconds: float | None = None,
    keep: float,
) -> tuple[Audio | Recording, ...]:
    """Read a waveform, or one per channel; of a file of more than `keep` seconds a Recording.

    The file is decoded to its end in either case, and refused as `read_audio` refuses it.
    """
    return _read(source, channel, partial, max_seconds, keep)


def _whole(found: tuple[Audio | Recording, ...]) -> tuple[Audio, ...]:
    return tuple(each for each in found if isinstance(each, Audio))


def _read(
    source: Source, channel: Channel, partial: bool, most: float | None, keep: float = inf
) -> tuple[Audio | Recording, ...]:
    check_channel_choice(channel)
    if isinstance(source, Audio):
        return (_checked(source, most),)
    if is_encoded(source):
        with opened(source) as there:
            return _decoded(there, source, channel, partial, most, keep)
    if isinstance(source, tuple) and len(source) == 2:
        return _from_samples(*source, channel, most)
    raise audio_error(
        "S481",
        "<audio>",
        f"{type(source).__name__} is not audio",
        "give a path, the bytes of a file, (samples, rate) or an Audio",
    )


def _decoded(
    there: OpenedFile,
    source: Encoded,
    channel: Channel,
    partial: bool,
    most: float | None,
    keep: float,
) -> tuple[Audio | Recording, ...]:
    name = there.name
    if there.size == 0:
        raise audio_error("S482", name, "the file is empty")
    kind = _kind(there.file, there.size, name)
    parts, fault = PART_FINDERS[kind](there.file, there.size)
    if fault and not (partial and parts and fault.code != "S481"):
        raise _refusal(name, fault, bool(parts))
    mixer, wrong = decode(kind, parts, name, channel, partial, most, keep)
    if wrong and not (partial and mixer.frames):
        raise _refusal(name, wrong, True)
    fault = wrong or fault
    notes: tuple[str, ...] = ()
    if fault is not None:
        notes = (_note(mixer.frames / mixer.rate, fault),)
    if mixer.keeps_samples:
        return mixer.finish(notes)
    notes = mixer.check(notes)
    recordings = []
    for column, label in enumerate(mixer.names):
        recordings.append(
            Recording(
                source, parts, mixer.by_part, mixer.rate, channel, column, partial, label, notes
            )
        )
    return tuple(recordings)


def _note(seconds: float, fault: AudioFault) -> str:
    return f"read as far as it goes, {seconds:.2f} s: {fault.message}"


def _refusal(name: str, fault: AudioFault, more: bool) -> Exception:
    hint = fault.hint
    if more and fault.code != "S481":
        hint += ", or read it as far as it goes by --partial"
    return audio_error(fault.code, name, fault.message, hint)


def _kind(file: BinaryIO, size: int, name: str) -> str:
    head = file.read(_HEAD)
    kind = container_of(head)
    if head[:3] == b"ID3":
        file.seek(id3_end(file, 0, size))
        kind = "FLAC" if file.read(4) == b"fLaC" else kind
    if kind is None and (kind := container_of_pyav(head)) and not pyav.is_installed():
        found = f"this is {describe(head)}, which PyAV reads, and it is not installed"
        raise audio_error("S481", name, found, pyav.INSTALL)
    if kind is None:
        raise audio_error(
            "S481",
            name,
            f"this is not a readable audio file but {describe(head)}",
            f"readable are {', '.join(READABLE)}; convert others: ffmpeg -i INPUT -ar 16000 a.wav",
        )
    return kind


def _checked(audio: Audio, most: float | None) -> Audio:
    """Return a waveform in memory; refuse one that this module would not have made."""
    samples, name = audio.samples, audio.source
    if not isinstance(samples, np.ndarray) or samples.dtype != np.float32 or samples.ndim != 1:
        found = f"{type(samples).__name__} {list(getattr(samples, 'shape', ()))}"
        if isinstance(samples, np.ndarray):
            found = f"{samples.dtype} {list(samples.shape)}"
        hint = "an Audio has float32 [frames]; other samples are read as (samples, rate)"
        raise audio_error("S481", name, f"samples of {found} are no waveform", hint)
    _from_samples(samples, audio.rate, "mix", most, name)  # its checks
    return audio


def _from_samples(
    samples: Any, rate: Any, channel: Channel, most: float | None, name: str = "<samples>"
) -> tuple[Audio, ...]:
    if np.ma.is_masked(samples):
        found = f"{int(np.ma.getmaskarray(samples).sum())} samples are masked"
        raise audio_error("S481", name, found, "fill or drop them first")
    hint = "give floats, int16 or int32, [frames] or [frames, channels]"
    dtype = samples.dtype.name if isinstance(samples, np.ndarray) else type(samples).__name__
    known = dtype in _INTEGERS or dtype in ("float16", "float32", "float64")
    if not isinstance(samples, np.ndarray) or not known or samples.ndim not in (1, 2):
        shape = list(getattr(samples, "shape", ()))
        raise audio_error("S481", name, f"samples of {dtype} {shape} are not audio", hint)
    if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)):
        raise audio_error("S485", name, f"the sample rate is {rate!r}, not a whole number of Hz")
    table = samples.reshape(len(samples), -1) if samples.size else samples.reshape(0, 1)
    check_format(int(rate), table.shape[1], name)
    scale = np.float32(1.0 / _INTEGERS.get(dtype, 1.0))
    starts = range(0, len(table), _BLOCK)
    with np.errstate(over="ignore"):
        blocks = (table[start : start + _BLOCK].astype(np.float32) * scale for start in starts)
        return mix_channels(table, blocks, int(rate), name, channel, most)

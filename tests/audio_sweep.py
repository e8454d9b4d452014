"""Write a clip of two seconds in every way that ffmpeg can, and read it."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from composer.core.errors import ComposerError
from composer.formats.audio.container import container_of as kind_of
from composer.formats.audio.reading import read_audio

RATES = ("16000", "48000", "44100", "8000")
DELAY = 4096  # frames of an encoder's delay and padding, at its rate
READABLE = ("aiff", "flac", "mp2", "mp3", "oga", "ogg", "opus", "rf64", "spx", "wav")
EXTRA = {"rf64": ("-rf64", "always", "-f", "wav")}
NO_CLIPS = re.compile(r"null|rtp|rtsp|sap|hash|md5|crc|tee|fifo|dash|hls|segment|alsa|pulse|oss|"
                      r"ffmetadata|image|sdl|caca|fbdev|opengl|xv|chromaprint|webm_chunk|hds|"
                      r"smoothstreaming|whip|ttml|srt|ass|lrc|vtt|sup|scc|microdvd|jacosub|"
                      r"mpjpeg")  # fmt: skip


@cache
def _listed(what: str, line: str) -> tuple[str, ...]:
    text = subprocess.run(
        ["ffmpeg", "-hide_banner", what], capture_output=True, text=True, check=True
    )
    return tuple(sorted(dict.fromkeys(re.findall(line, text.stdout, re.M))))


def containers() -> tuple[str, ...]:
    """Return ffmpeg's muxers that may hold a clip, and RF64."""
    names = _listed("-muxers", r"^ +E (\w+)")
    return tuple(sorted([*(name for name in names if not NO_CLIPS.search(name)), "rf64"]))


def codecs(container: str) -> tuple[str, ...]:
    """Return the encoders to try: all, where the container is one that is read; else its own."""
    if container == "mp2":  # it would write any codec as it is
        return ("libtwolame", "mp2", "mp2fixed")
    if container in READABLE:
        return _listed("-encoders", r"^ A[\w.]{5} (\w+)")
    return ("its own",)


def outcome(container: str, codec: str) -> str | None:
    """Return `whole` or the words of the refusal; None where ffmpeg cannot write it."""
    data = written(container, codec)
    if data is None or (container not in READABLE and kind_of(data[:4096]) is not None):
        return None
    try:
        audio = read_audio(data)
    except ComposerError as error:
        return error.problems[0].message.removeprefix("this is no audio that can be read, but ")
    expected = decoded(data, audio.rate)
    if abs(audio.frames - len(expected)) <= DELAY:
        return "whole"
    return f"WRONG: {audio.frames} frames, and ffmpeg decodes {len(expected)}"


@cache
def written(container: str, codec: str) -> bytes | None:
    """Return a file that ffmpeg wrote, at the first rate that the codec takes."""
    form = EXTRA.get(container, ("-f", container))
    if codec == "its own":
        tried = (_to_file(("-ar", rate, *form)) for rate in RATES)
        return next((data for data in tried if data), None)
    rate = rate_of(codec)
    return _to_file(("-ar", rate, "-c:a", codec, *form)) if rate else None


@cache
def rate_of(codec: str) -> str | None:
    """Return the first rate that an encoder takes."""
    return next((r for r in RATES if _to_file(("-ar", r, "-c:a", codec, "-f", "null"))), None)


def _to_file(options: tuple[str, ...]) -> bytes | None:
    """Encode the clip into a file and no pipe: some containers go back to their header."""
    tone = (0.3 * np.sin(np.arange(32_000) * 0.05)).astype("<f4").tobytes()
    command = ["ffmpeg", "-v", "error", "-f", "f32le", "-ar", "16000", "-ac", "1", "-i", "-"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        command += ["-strict", "-2", "-ac", "1", *options, str(path)]
        done = subprocess.run(command, input=tone, capture_output=True, check=False)
        if done.returncode:
            return None
        return path.read_bytes() if path.is_file() else b"null"


def decoded(data: bytes, rate: int) -> np.ndarray:
    """Return the samples as ffmpeg decodes them."""
    command = ["ffmpeg", "-v", "error", "-i", "-", "-f", "f32le", "-ac", "1", "-ar", str(rate), "-"]
    made = subprocess.run(command, input=data, capture_output=True, check=False)
    return np.frombuffer(made.stdout, np.float32)

"""Group G: hostile audio, as the input of a run; audio belongs to a run, so its exit code is 5."""

import os
import struct
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

from composer.core.errors import ComposerError
from composer.formats.audio.reading import read_audio, read_channels
from tests.hostile.conftest import BUDGET
from tests.hostile.making import HEAD, bundle, measured
from tests.test_audio import TONE, encoded, with_data_size, with_total

MEL = (
    HEAD
    + """components:
  features: {use: audio.log_mel, config: {mels: 80, rate: 16000}}
inputs: {audio: audio}
graph:
  mel: {run: features, with: {audio: $audio}}
outputs: {mel: $mel}
"""
)


@pytest.fixture
def run_features(cli, tmp_path):
    """Run a clip through the features: exit code, and its messages."""
    folder = bundle(tmp_path / "bundle", MEL, {})

    def call(data, name="clip.wav"):
        clip = tmp_path / name
        if isinstance(data, bytes):
            clip.write_bytes(data)
        began = time.perf_counter()
        code, out, err = cli("run", folder, "-i", f"audio={clip}")
        assert time.perf_counter() - began < BUDGET
        assert "Traceback" not in err
        assert (code == 0) == bool(out)
        return code, err

    return call


def fmt(data=None, **fields):
    """Change fields of a WAV's format chunk by name."""
    places = {"kind": (20, "<H"), "channels": (22, "<H"), "rate": (24, "<I"),
              "bytes": (28, "<I"), "align": (32, "<H"), "bits": (34, "<H")}  # fmt: skip
    data = bytearray(encoded() if data is None else data)
    for name, number in fields.items():
        at, form = places[name]
        struct.pack_into(form, data, at, number)
    return bytes(data)


WAV = encoded()
FLAC = encoded(container="FLAC")
MP3 = encoded(container="MP3")
OGG = encoded(container="OGG")
ID3 = b"ID3\4\0\0" + bytes([0x7F] * 4)
REFUSED = {
    "G1 empty": (b"", "S482"),
    "G2 a header alone": (encoded(TONE[:0]), "S482"),
    "G3 thirty bytes": (WAV[:30], "S483"),
    "G6 truncated": (WAV[: len(WAV) // 2], "S483"),
    "G10 a rate of 0": (fmt(rate=0), "S48"),
    "G11 a rate of 1 Hz": (fmt(rate=1), "S485"),
    "G12 a rate of 4 GHz": (fmt(rate=2**32 - 1), "S48"),
    "G15 no channel": (fmt(channels=0), "S48"),
    "G16 65535 channels": (fmt(channels=65535), "S48"),
    "G17 1024 channels": (fmt(channels=1024, align=2048), "S486"),
    "G18 0 bits": (fmt(bits=0), "S48"),
    "G20 an unknown format": (fmt(kind=0x7A21), "S481"),
    "G21 an IMA ADPCM that overflows": (fmt(kind=0x11, bits=4, align=65535, channels=2), "S48"),
    "G22 NaN": (encoded(np.array([0.1, np.nan]), subtype="FLOAT"), "S484"),
    "G23 infinite": (encoded(np.array([0.1, np.inf]), subtype="FLOAT"), "S484"),
    "G28 channels that cancel": (encoded(np.stack([TONE, -TONE], 1)), "S488"),
    "G36 a truncated CAF": (encoded(container="CAF")[:-9], "S48"),
    "G41 M4A": (b"\0\0\0\x20ftypM4A \0\0" + bytes(64), "S48"),
    "G42 WebM": (b"\x1aE\xdf\xa3" + bytes(64), "S48"),
    "G43 AAC": (b"\xff\xf1\x50\x80" + bytes(64), "S48"),
    "G44 AMR": (b"#!AMR\n" + bytes(64), "S48"),
    "G45 a truncated FLAC": (FLAC[: len(FLAC) // 2], "S48"),
    "G46 a truncated MP3": (MP3[: len(MP3) // 2], "S483"),
    "G46 a truncated Ogg": (OGG[: len(OGG) // 2], "S483"),
    "G47 noise after a header": (FLAC[:60] + os.urandom(5000), "S48"),
    "G48 a FLAC of 256 GiB": (with_total(FLAC, 2**36 - 1), "S487"),
    "G49 an ID3 tag of 256 MB": (ID3 + bytes(100), "S483"),
    "G51 a web page": (b"<!DOCTYPE html><html>login</html>", "S481"),
    "G51 a picture": (b"\x89PNG\r\n\x1a\n" + bytes(64), "S481"),
    "G51 a zip": (b"PK\3\4" + bytes(64), "S481"),
    "G51 text": (b"this is my recording", "S481"),
    "G52 a playlist": (b"#EXTM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd\n", "S481"),
    "G52 a list for ffmpeg": (b"ffconcat version 1.0\nfile /etc/passwd\n", "S481"),
}
READ = {
    "G4 one sample": encoded(TONE[:1]),
    "G5 fifty samples": encoded(TONE[:50]),
    "G8 a size that was not known": with_data_size(WAV, 0xFFFFFFFF),
    "G9 a size of 0": with_data_size(WAV, 0),
    "G13 8001 Hz": encoded(rate=8001),
    "G14 192 kHz": encoded(rate=192_000),
    "G24 denormal": encoded(np.full(800, 1e-42), subtype="FLOAT"),
    "G25 an amplitude of 1e30": encoded(TONE * 1e30, subtype="FLOAT"),
    "G26 a constant": encoded(np.full(8000, 0.5)),
    "G27 silence": encoded(np.zeros(8000)),
    "G29 six channels": encoded(np.stack([TONE] * 6, 1)),
    "G30 8 bits": encoded(subtype="PCM_U8"),
    "G31 24 bits": encoded(subtype="PCM_24"),
    "G32 doubles": encoded(subtype="DOUBLE"),
    "G33 mu-law": encoded(subtype="ULAW"),
    "G34 RF64": encoded(container="RF64"),
    "G35 AIFF": encoded(container="AIFF"),
    "G37 FLAC": FLAC,
    "G38 Ogg": OGG,
    "G39 MP3": MP3,
    "G40 Opus": encoded(container="OGG", subtype="OPUS"),
    "G50 another extension": FLAC,
}


@pytest.mark.parametrize(("data", "code"), REFUSED.values(), ids=REFUSED)
def test_a_clip_is_refused(run_features, data, code):
    got, messages = run_features(data)
    assert got == 5
    assert f"clip.wav: {code}" in messages


@pytest.mark.parametrize("data", READ.values(), ids=READ)
def test_a_clip_is_read(run_features, data):
    """Or, where a component needs more than there is, refused by it with its reason."""
    code, messages = run_features(data)
    assert code == 0 or " R52" in messages


@pytest.mark.parametrize("changed", [WAV + b"x", fmt(bits=7)], ids=["G7 an odd byte", "G19 7 bits"])
def test_a_clip_is_read_or_refused(run_features, changed):
    code, messages = run_features(changed)
    assert code == 0 or "clip.wav: S48" in messages


@pytest.mark.parametrize(
    "head",
    [
        b"RIFF\0\0\0\0WAVE",
        b"FORM\0\0\0\0AIFF",
        b"RF64\xff\xff\xff\xffWAVE",
    ],
)
def test_chunks_without_end_are_not_walked(run_features, tmp_path, head):
    """A hole in a file reads as chunks of no length."""
    with (tmp_path / "hole.wav").open("wb") as file:
        file.write(head)
        file.truncate(100_000_000_000)
    code, messages = run_features(None, "hole.wav")
    assert code == 5
    assert "S483 the " in messages
    assert "it has no audio data" in messages


@pytest.mark.parametrize("head", [b"caff\0\1\0\0", b"\0\0\0\x08ftyp", b"#!AMR\n\x7c"])
def test_boxes_and_frames_without_end_are_not_walked(run_features, tmp_path, head):
    with (tmp_path / "hole.m4a").open("wb") as file:
        file.write(head)
        file.truncate(100_000_000_000)
    code, messages = run_features(None, "hole.m4a")
    assert code == 5
    assert "S48" in messages


def test_pages_without_end_are_not_walked(run_features, monkeypatch):
    monkeypatch.setattr("composer.formats.audio.ogg.PAGES", 3)
    code, messages = run_features(encoded(np.tile(TONE, 9), container="OGG"))
    assert code == 5
    assert "S489 the Ogg file is damaged: it has more than 3 pages" in messages


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("WAV", 100_000_000),
        pytest.param("WAV", 2_000_000_000, marks=pytest.mark.slow),
        pytest.param("Ogg", 2_000_000_000, marks=pytest.mark.slow),
    ],
)
def test_a_hole_takes_no_memory(tmp_path, kind, size):
    """A WAV of unknown size, and pages far apart, are read block by block."""
    path = tmp_path / "hole"
    with path.open("wb") as file:
        file.write(with_data_size(WAV, 0xFFFFFFFF) if kind == "WAV" else OGG)
        file.seek(size)
        file.write(OGG)
    tracemalloc.start()
    with pytest.raises(ComposerError) as caught:
        read_audio(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "S489 " in str(caught.value)
    assert peak < 20_000_000


@pytest.mark.parametrize("channel", ["mix", "left", "each"])
def test_a_long_clip_is_in_memory_once(tmp_path, channel):
    """What is read grows in place: blocks that are joined at the end would be there twice."""
    frames = 4_000_000
    path = tmp_path / "long.flac"
    path.write_bytes(encoded(np.zeros((frames, 2), np.int16), container="FLAC"))
    tracemalloc.start()
    clips = read_channels(path) if channel == "each" else read_audio(path, channel=channel)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kept = 4 * frames * (2 if channel == "each" else 1)
    assert clips.seconds == frames / 16_000
    assert peak < 1.2 * kept + 12_000_000


@pytest.mark.slow
def test_g49_g48_and_g16_cost_no_memory(tmp_path):
    folder = bundle(tmp_path, MEL, {})
    for name in ("G16 65535 channels", "G48 a FLAC of 256 GiB", "G49 an ID3 tag of 256 MB"):
        (tmp_path / "clip").write_bytes(REFUSED[name][0])
        code, _, grown = measured("run", folder, "-i", f"audio={tmp_path / 'clip'}")
        assert code == 5
        assert grown < 200_000_000


def test_g53_g54_hours_are_refused_by_their_header(run_features):
    """What is beyond the limit of samples is known before anything is decoded.

    Eight hours within the limit would cost this test minutes and gigabytes; they are not run here.
    G55, hours of silence, is no case yet: there is no voice activity detection.
    """
    code, messages = run_features(with_total(FLAC, 16_000 * 3600 * 10))
    assert code == 5
    assert "S487 the audio is longer than" in messages


def test_g56_a_file_that_is_removed_or_grows_while_it_is_read(tmp_path, monkeypatch):
    """It is opened once: a name may go, and bytes that come later are not read."""
    from composer.formats.audio import reading as audio

    path = tmp_path / "clip.wav"
    path.write_bytes(WAV)
    decode = audio._decoded

    def slow(file, *rest):
        with path.open("ab") as more:
            more.write(bytes(1000))
        path.unlink()
        return decode(file, *rest)

    monkeypatch.setattr(audio, "_decoded", slow)
    assert audio.read_audio(path).frames == len(TONE)


def test_g57_g58_what_is_no_file(cli, tmp_path):
    folder = bundle(tmp_path / "bundle", MEL, {})
    os.mkfifo(tmp_path / "pipe")
    for name, why in (("pipe", "is a pipe or device"), ("bundle", "folder"), ("none", "none")):
        code, out, err = cli("run", folder, "-i", f"audio={tmp_path / name}")
        assert (code in (2, 5), out) == (True, "")
        assert why in err
        assert "Traceback" not in err


@pytest.mark.slow
def test_g57_standard_input(tmp_path):
    folder = bundle(tmp_path, MEL, {})
    command = [sys.executable, "-m", "composer", "run", str(folder), "-i", "audio=-"]
    for data, code in ((WAV, 0), (WAV[:-9], 5), (b"", 5)):
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        assert done.returncode == code, done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything, so G59 needs another user")
def test_g59_what_may_not_be_read(run_features, tmp_path):
    path = tmp_path / "closed.wav"
    path.write_bytes(WAV)
    path.chmod(0)
    assert (
        "S480 the audio file cannot be opened: Permission denied"
        in run_features(None, path.name)[1]
    )


@pytest.mark.parametrize("name", ["a b.wav", "a\nb.wav", "\N{HEADPHONE}.wav", "-rf", "=.wav"])
def test_g60_odd_names(run_features, name):
    assert run_features(WAV, name)[0] == 0

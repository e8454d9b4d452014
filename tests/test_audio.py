import io
import os
import random
import re
import struct
import warnings

import numpy as np
import pytest
import soundfile

from composer.core.errors import ComposerError
from composer.formats.audio import pyav
from composer.formats.audio.container import container_of_pyav
from composer.formats.audio.reading import read_audio
from composer.formats.audio.waveform import Audio

RATE = 16_000
RNG = np.random.default_rng(7)
TONE = (0.3 * np.sin(np.arange(40_000) * 0.05) + RNG.normal(0, 0.01, 40_000)).astype(np.float32)


def encoded(samples=TONE, rate=RATE, container="WAV", subtype=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def refusal(source):
    with pytest.raises(ComposerError) as caught:
        read_audio(source)
    (problem,) = caught.value.problems
    assert caught.value.exit_code == 5
    return problem


def with_data_size(data, size):
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


CONTAINERS = [
    ("WAV", "PCM_16", 4e-5),
    ("WAV", "PCM_U8", 8e-3),
    ("WAV", "PCM_24", 1e-6),
    ("WAV", "FLOAT", 0),
    ("WAV", "DOUBLE", 0),
    ("WAVEX", "PCM_16", 4e-5),
    ("RF64", "PCM_16", 4e-5),
    ("AIFF", "PCM_16", 4e-5),
    ("FLAC", "PCM_16", 4e-5),
    ("OGG", "VORBIS", 0.2),
    ("OGG", "OPUS", 0.2),
    ("MP3", "MPEG_LAYER_III", 0.2),
]


@pytest.mark.parametrize(("container", "subtype", "tolerance"), CONTAINERS)
def test_reads_what_was_written(container, subtype, tolerance, tmp_path):
    data = encoded(container=container, subtype=subtype)
    path = tmp_path / "clip one\n-rf 🎧.raw"
    path.write_bytes(data)
    for source in (data, path, str(path)):
        audio = read_audio(source)
        assert audio.rate == RATE
        assert audio.samples.dtype == np.float32
        assert audio.samples.shape == TONE.shape
        assert np.abs(audio.samples - TONE).max() <= tolerance
        assert not audio.samples.flags.writeable
    assert read_audio(path).source == str(path)


@pytest.mark.parametrize(("container", "subtype", "tolerance"), CONTAINERS)
@pytest.mark.parametrize("share", [0.99, 0.5, 0.02])
def test_refuses_a_truncated_file(container, subtype, tolerance, share):
    data = encoded(container=container, subtype=subtype)
    assert refusal(data[: int(len(data) * share)]).code in ("S483", "S489")


@pytest.mark.parametrize(
    ("container", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", "PCM_16")]
)
def test_refuses_a_single_wrong_bit_wherever_there_is_a_checksum(container, subtype):
    data = encoded(container=container, subtype=subtype)
    draw = random.Random(5)
    for _ in range(60):
        wrong = bytearray(data)
        wrong[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        assert refusal(bytes(wrong)).code in ("S481", "S483", "S489")


def test_names_the_page_of_an_ogg_that_is_wrong_or_missing():
    data = encoded(np.tile(TONE, 3), container="OGG", subtype="VORBIS")
    pages = [match.start() for match in re.finditer(b"OggS", data)]
    at = pages[3]
    wrong = data[: at + 40] + bytes([data[at + 40] ^ 1]) + data[at + 41 :]
    assert refusal(wrong).message == (
        f"the Ogg file is damaged: page 3, at byte {at}, does not match its checksum"
    )
    assert refusal(data[:at] + data[pages[4] :]).message == (
        f"the Ogg file is damaged: pages are missing before byte {at}"
    )
    assert read_audio(data + b"TAG of another tool").frames == 120_000


@pytest.mark.parametrize("container", ["WAV", "RF64", "AIFF", "FLAC", "OGG", "MP3"])
def test_refuses_every_short_prefix(container):
    data = encoded(container=container)
    for size in range(200):
        assert refusal(data[:size]).code in ("S481", "S482", "S483", "S489")


def test_a_truncated_wav_says_how_much_is_there():
    problem = refusal(encoded()[:-1000])
    assert str(problem) == (
        "<bytes>: S483 the WAV file is truncated: its header declares 80000 bytes of samples, "
        "but the file has 79000\n"
        "    hint: download it again, or read it as far as it goes by --partial"
    )


def with_total(data, total):
    """Name another number of samples in the STREAMINFO of a FLAC."""
    changed = bytearray(data)
    changed[21:26] = (changed[21] & 0xF0 | total >> 32, *(total & 0xFFFFFFFF).to_bytes(4, "big"))
    return bytes(changed)


def test_a_flac_that_ends_between_two_frames_is_truncated():
    problem = refusal(with_total(encoded(container="FLAC"), 50_000))
    assert str(problem) == (
        "<bytes>: S483 the FLAC file is truncated: its header declares 50000 frames, "
        "but the file has 40000\n"
        "    hint: download it again, or read it as far as it goes by --partial"
    )


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0xFFFFFFDB, 0x7FFFF000, 0x7FFFFFFF, 0x80000000])
def test_reads_a_streamed_wav_to_its_end(size):
    audio = read_audio(with_data_size(encoded(), size))
    assert audio.frames == len(TONE)
    assert np.array_equal(audio.samples, read_audio(encoded()).samples)


def test_reads_a_flac_that_names_no_length():
    assert read_audio(with_total(encoded(container="FLAC"), 0)).frames == len(TONE)


def test_refuses_a_flac_that_promises_months():
    problem = refusal(with_total(encoded(container="FLAC"), 2**36 - 1))
    assert problem.code == "S487"
    assert problem.message == "the audio is longer than 6 hours at 16000 Hz"


def test_mixes_channels_by_their_mean():
    channels = RNG.normal(0, 0.1, (5000, 6)).astype(np.float32)
    audio = read_audio(encoded(channels, subtype="FLOAT"))
    assert np.array_equal(audio.samples, channels.mean(axis=1))


def test_refuses_channels_that_cancel():
    problem = refusal(encoded(np.stack([TONE, -TONE], axis=1)))
    assert problem.code == "S488"
    assert problem.message.startswith(
        "the 2 channels cancel in 3 of 3 loud seconds: at 0 s their mix keeps "
    )
    assert problem.hint == (
        "one is inverted: take --channel left, right or each (channel= in Python)"
    )


@pytest.mark.parametrize("offset", [0.2, 1e-4])
def test_refuses_channels_that_cancel_up_to_an_offset_which_is_no_sound(offset):
    level = min(1, 5 * offset)
    channels = np.stack([TONE * level, -TONE * level], axis=1) + offset
    assert refusal(encoded(channels, subtype="FLOAT")).code == "S488"
    half = channels * [1, 0.5]
    assert read_audio(encoded(half, subtype="FLOAT")).frames == len(TONE)


def test_takes_a_nearly_silent_and_a_silent_stereo_file():
    quiet = np.stack([TONE, TONE * 0.5], axis=1) * 1e-3
    assert read_audio(encoded(quiet, subtype="FLOAT")).frames == len(TONE)
    assert not read_audio(encoded(np.zeros((800, 2)))).samples.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_refuses_samples_that_are_not_finite(bad, channels):
    samples = np.stack([TONE] * channels, axis=1).copy()
    samples[20_000, -1] = bad
    problem = refusal(encoded(samples, subtype="FLOAT"))
    assert (problem.code, problem.message) == (
        "S484",
        "sample 20000 (1.250 s) is not a finite number",
    )


def test_refuses_a_double_that_float32_cannot_hold():
    samples = TONE.astype(np.float64)
    samples[5] = 1e300
    assert refusal(encoded(samples, subtype="DOUBLE")).code == "S484"
    assert refusal((samples, RATE)).code == "S484"


@pytest.mark.parametrize("rate", [1, 3999, 384_001, 2_000_000_000])
def test_refuses_an_absurd_rate(rate):
    problem = refusal(encoded(rate=rate))
    assert str(problem) == (
        f"<bytes>: S485 the sample rate is {rate} Hz\n    hint: it must be 4000 to 384000 Hz"
    )


def test_refuses_many_channels():
    problem = refusal(encoded(np.zeros((10, 9))))
    assert (problem.code, problem.message) == ("S486", "there are 9 channels")
    assert refusal((np.zeros((10, 9)), RATE)).code == "S486"


def test_refuses_no_samples():
    assert refusal(b"").message == "the file is empty"
    assert refusal(encoded(TONE[:0])).message == "there are no samples in it"
    assert refusal((TONE[:0], RATE)).code == "S482"
    assert refusal((np.zeros((0, 2)), RATE)).code == "S482"


def test_refuses_more_than_the_limit(monkeypatch):
    monkeypatch.setattr("composer.formats.audio.audio_problems.MAX_SAMPLES", 30_000)
    assert refusal(encoded()).code == "S487"
    assert refusal((TONE, RATE)).code == "S487"
    assert refusal(with_total(encoded(container="FLAC"), 0)).code == "S487"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\0\0\0\x20ftypM4A \0\0", "MP4"),
        (b"\x1aE\xdf\xa3" + bytes(20), "Matroska"),
        (b"\xff\xf1\x50\x80" + bytes(20), "ADTS"),
        (b"#!AMR\n" + b"\xff" * 20, "AMR"),
    ],
)
def test_the_start_of_a_file_for_pyav_is_no_audio(data, kind):
    assert container_of_pyav(data) == kind
    assert refusal(data).code in ("S483", "S489") if pyav.is_installed() else ("S481",)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"<!DOCTYPE html><html>login</html>", "a web page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "a PNG image"),
        (b"PK\x03\x04" + bytes(20), "a zip archive"),
        (b"\x0b\x77" + bytes(20), "a raw AC-3 stream"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\n", "a playlist"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"hello, this is my recording", "text"),
        ("né à Paris".encode(), "text"),
        (bytes(64), "unknown: it starts with 00 00 00 00"),
        (b"\x01\xfe\x02\xfd" * 9, "unknown: it starts with 01 fe 02 fd"),
    ],
)
def test_says_what_a_file_is_that_is_no_audio(data, what, tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(data)
    assert str(refusal(path)) == (
        f"{path}: S481 this is not a readable audio file but {what}\n"
        "    hint: readable are WAV, RF64, AIFF, FLAC, Ogg, MP3; "
        "convert others: ffmpeg -i INPUT -ar 16000 a.wav"
    )


@pytest.mark.parametrize("container", ["AU", "W64"])
def test_refuses_containers_whose_length_is_not_checked(container):
    assert refusal(encoded(container=container)).code == "S481"


def test_refuses_what_is_no_file(tmp_path):
    assert str(refusal(tmp_path)) == (
        f"{tmp_path}: S480 the audio is a folder, not a file\n    hint: name a file in it"
    )
    absent = tmp_path / "absent.wav"
    assert refusal(absent).message == "the audio file cannot be opened: No such file or directory"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refusal(pipe).message == "the audio is a pipe, socket or device, not a file"
    assert refusal("a\0b").message == "the audio file cannot be opened: embedded null byte"
    assert refusal("x" * 5000).code == "S480"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_refuses_what_may_not_be_read(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(encoded())
    path.chmod(0)
    assert refusal(path).message == "the audio file cannot be opened: Permission denied"


def test_takes_samples_as_they_are():
    assert np.array_equal(read_audio((TONE, RATE)).samples, TONE)
    assert np.array_equal(read_audio((TONE[:, None], RATE)).samples, TONE)
    whole = np.array([0, 16384, -32768], np.int16)
    assert read_audio((whole, np.int64(8000))).samples.tolist() == [0.0, 0.5, -1.0]
    assert read_audio((np.array([-(2**31)], np.int32), RATE)).samples.tolist() == [-1.0]
    audio = Audio(TONE, RATE, "mine")
    assert read_audio(audio) is audio


def test_does_not_freeze_the_callers_samples():
    mine = TONE.copy()
    read_audio((mine, RATE))
    mine[0] = 1.0


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (None, "S481"),
        (TONE, "S481"),
        ((TONE, RATE, 1), "S481"),
        ((list(TONE[:9]), RATE), "S481"),
        ((TONE > 0, RATE), "S481"),
        ((TONE.astype(np.uint8), RATE), "S481"),
        ((TONE.reshape(10, 10, -1), RATE), "S481"),
        ((np.float32(1), RATE), "S481"),
        ((TONE, 16000.0), "S485"),
        ((TONE, True), "S485"),
        ((TONE, 0), "S485"),
    ],
)
def test_refuses_python_values_that_are_no_audio(source, code):
    assert refusal(source).code == code


def test_damaged_files_are_refused_or_read_but_never_crash():
    dice = random.Random(3)
    for container in ("WAV", "RF64", "AIFF", "FLAC", "OGG", "MP3"):
        whole = encoded(TONE[:6000], container=container)
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(dice.randrange(1, 6)):
                data[dice.randrange(min(len(data), 300))] = dice.randrange(256)
            try:
                audio = read_audio(bytes(data))
            except ComposerError:
                continue
            assert np.isfinite(audio.samples).all()


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 24_000, 44_100, 48_000])
def test_resamples_to_the_length_that_time_demands(rate):
    for frames in (1, 50, 4001, 30_000):
        resampled = read_audio((np.resize(TONE, frames), rate)).resample(RATE)
        assert resampled.frames == -(-frames * RATE // rate)
        assert resampled.rate == RATE
        assert resampled.samples.dtype == np.float32


def test_resampling_keeps_a_tone_and_drops_what_does_not_fit():
    seconds = np.arange(48_000) / 48_000
    low = np.sin(2 * np.pi * 440 * seconds).astype(np.float32) * 0.5
    high = np.sin(2 * np.pi * 11_000 * seconds).astype(np.float32) * 0.5
    middle = slice(1000, -1000)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert (
        np.abs(read_audio((low, 48_000)).resample(16_000).samples - expected)[middle].max() < 1e-4
    )
    assert np.abs(read_audio((high, 48_000)).resample(16_000).samples)[middle].max() < 1e-4


def test_the_same_rate_is_the_same_audio():
    audio = read_audio((TONE, RATE))
    assert audio.resample(RATE) is audio
    assert (audio.frames, audio.seconds) == (40_000, 2.5)


def test_what_peaks_over_full_scale_is_divided_by_its_peak():
    loud = read_audio((TONE * 5, RATE))
    assert loud.samples.max() > 1.5
    scaled = loud.resample(RATE).samples
    assert np.abs(scaled).max() == 1.0
    assert np.array_equal(scaled, loud.samples / np.abs(loud.samples).max())
    square = np.sign(np.sin(np.arange(24_000) * 0.1)).astype(np.float32)
    assert np.abs(read_audio((square, 24_000)).resample(RATE).samples).max() == 1.0
    assert np.abs(read_audio((TONE * 1e30, RATE)).resample(RATE).samples).max() == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("rate", [8000, 24_000, 44_100])
def test_equals_the_loading_of_librosa(rate, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import librosa

        stereo = np.stack([TONE, np.roll(TONE, 99)], axis=1)
        path = tmp_path / "clip.wav"
        path.write_bytes(encoded(stereo, rate=rate, subtype="FLOAT"))
        expected, _ = librosa.load(path, sr=RATE, mono=True)
    found = read_audio(path).resample(RATE)
    assert found.samples.shape == expected.shape
    assert np.array_equal(found.samples, expected)


@pytest.mark.parametrize("spike", [1e4, 1e30, -1e30])
def test_one_sample_out_of_range_does_not_silence_the_rest(spike):
    samples = TONE.copy()
    samples[777] = spike
    scaled = read_audio((samples, RATE)).resample(RATE).samples
    rest = np.delete(scaled, 777)
    assert abs(scaled[777]) == 1.0
    level = np.sqrt((rest**2).mean()) / np.sqrt((np.delete(TONE, 777) ** 2).mean())
    assert level > 0.05
    for want in (8000, 22_050):  # nor once it is resampled, where it rings
        found = read_audio((samples, RATE)).resample(want).samples
        expected = read_audio((TONE, RATE)).resample(want).samples
        distant = np.abs(np.arange(len(found)) - 777 * want / RATE) > 200
        level = found[distant] @ expected[distant] / (expected[distant] @ expected[distant])
        assert level > 0.05
        np.testing.assert_allclose(found[distant], level * expected[distant], atol=0.01)

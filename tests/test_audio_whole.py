"""All audio of a file is decoded, whatever its header states; ffmpeg's decoding is the witness."""

import io
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from composer.core.errors import ComposerError
from composer.formats.audio import riff
from composer.formats.audio.ogg import checksum
from composer.formats.audio.reading import read_audio
from tests.test_audio import RATE, TONE, encoded, refusal, with_data_size, with_total

CASES = Path(__file__).parent / "audio_cases"

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is the witness")


def ffmpeg(data, *options):
    """Return what ffmpeg makes of a file."""
    command = ["ffmpeg", "-v", "error", "-i", "-", *options, "-"]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def decoded(data):
    """Return the samples as ffmpeg decodes them."""
    return np.frombuffer(ffmpeg(data, "-f", "f32le", "-ac", "1"), np.float32)


def made(*options, seconds=4):
    """Encode a clip whose pitch rises with time, so that no second equals another."""
    time = np.arange(seconds * RATE) / RATE
    clip = 0.3 * np.sin(2 * np.pi * (300 + 100 * time) * time)
    return ffmpeg(encoded(clip.astype(np.float32)), *options)


def alike(samples, expected, shift=1500):
    """Return whether two decoders gave the same sound: equal up to rounding at one delay."""
    for delay in range(-shift, shift + 1):
        ours = samples[max(0, delay) :]
        theirs = expected[max(0, -delay) :]
        count = min(len(ours), len(theirs))
        if (
            abs(ours[5000] - theirs[5000]) < 1e-3
            and np.abs(ours[:count] - theirs[:count]).max() < 5e-3
        ):
            return count > len(expected) - shift
    return False


DELAY = 529  # of a decoder of MP3, which ffmpeg keeps where no header says to drop it
VBR = ("-c:a", "libmp3lame", "-q:a", "5", "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3")


def test_a_vbr_mp3_without_xing_is_read_to_its_end():
    data = (CASES / "vbr-no-xing.mp3").read_bytes()
    expected = decoded(data)
    samples = read_audio(data).samples
    assert len(expected) == 87_552
    assert len(samples) == len(expected) - DELAY
    assert alike(samples, expected)


@pytest.mark.parametrize("rate", ["44100", "16000", "8000"])
def test_other_rates_of_vbr_too(rate):
    data = made("-ar", rate, *VBR)
    assert read_audio(data).frames == len(decoded(data)) - DELAY


def test_a_layer_2_file_is_read_to_its_end():
    data = made("-ar", "44100", "-c:a", "mp2", "-f", "mp2")
    assert read_audio(data).frames == len(decoded(data))


def test_joined_mp3_files_are_read_to_the_last():
    for first, second in (
        (made(*VBR, seconds=3), made(*VBR, seconds=5)),
        (encoded(np.tile(TONE, 2), container="MP3"), encoded(TONE, container="MP3")),
        (made(*VBR, seconds=3), encoded(TONE, container="MP3")),
    ):
        whole = read_audio(first + second)
        parts = [read_audio(first).samples, read_audio(second).samples]
        assert abs(whole.frames - sum(map(len, parts))) <= DELAY
        assert np.abs(whole.samples[-RATE:] - parts[1][-RATE:]).max() < 1e-3


def test_an_mp3_whose_xing_header_states_less_is_read_whole():
    data = bytearray(encoded(np.tile(TONE, 4), container="MP3"))
    at = data.index(b"Info" if b"Info" in data else b"Xing")
    (frames,) = struct.unpack(">I", data[at + 8 : at + 12])
    data[at + 8 : at + 12] = struct.pack(">I", frames // 2)
    assert read_audio(bytes(data)).frames >= 160_000


def test_an_mp3_whose_last_frame_is_cut_is_truncated():
    data = made(*VBR)
    problem = refusal(data[:-20])
    assert problem.code == "S483"
    assert "its last frame, at byte" in problem.message


def test_bytes_between_frames_are_reported():
    data = made(*VBR)
    middle = len(data) // 2
    problem = refusal(data[:middle] + bytes(3000) + data[middle:])
    assert problem.code == "S489"
    assert "are no frames" in problem.message


def test_tags_are_no_audio():
    data = made(*VBR)
    tag = b"TAG" + bytes(125)
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)
    frames = read_audio(data).frames
    assert read_audio(data + tag).frames == frames
    assert read_audio(data + ape + tag).frames == frames
    assert read_audio(b"ID3\4\0\0\0\0\0\x14" + bytes(20) + data).frames == frames


def test_chained_ogg_is_read_to_the_last_link():
    data = (CASES / "chained.ogg").read_bytes()
    starts = [at for at in range(len(data)) if data[at : at + 4] == b"OggS" and data[at + 5] & 2]
    assert len(starts) > 1
    links = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    expected = np.concatenate([decoded(link) for link in links])
    samples = read_audio(data).samples
    assert abs(len(samples) - len(expected)) <= 64 * len(links)
    assert samples[-1000:] == pytest.approx(
        decoded(links[-1])[: len(read_audio(links[-1]).samples)][-1000:], abs=2e-3
    )


def test_chained_opus_is_read_to_the_last_link():
    first, second = (encoded(clip, container="OGG", subtype="OPUS") for clip in (TONE, TONE[:9000]))
    second = reserial(second)
    assert read_audio(first + second).frames == 49_000


def reserial(data, granule=None):
    """Give the pages of an Ogg stream another serial number, and scale what they state."""
    made, at = b"", 0
    while at < len(data):
        page = bytearray(data[at:])
        size = 27 + page[26] + sum(page[27 : 27 + page[26]])
        page = page[:size]
        page[14:18] = b"abcd"
        if granule:
            place = struct.unpack("<q", page[6:14])[0]
            page[6:14] = struct.pack("<q", granule(place))
        page[22:26] = checksum(bytes(page)).to_bytes(4, "little")
        made, at = made + bytes(page), at + size
    return made


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_that_states_half_of_its_length_is_no_whole_one(subtype):
    data = encoded(np.tile(TONE, 2), container="OGG", subtype=subtype)
    problem = refusal(reserial(data, lambda place: place // 2))
    assert problem.code == "S483"
    assert " declare" in problem.message
    assert ", but " in problem.message


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_that_was_joined_late_states_more_and_is_whole(subtype):
    data = encoded(np.tile(TONE, 2), container="OGG", subtype=subtype)
    late = reserial(data, lambda place: place + 480_000 if place > 0 else place)
    assert 80_000 <= read_audio(late).frames <= 80_200


def test_two_links_of_other_rates_are_refused_with_both():
    other = reserial(encoded(rate=8000, container="OGG"))
    problem = refusal(encoded(container="OGG") + other)
    assert problem.message == (
        "the Ogg file is joined of several: part 2 has 1 channels at 8000 Hz, "
        "and those before it 1 at 16000 Hz"
    )


def test_joined_flac_is_read_to_the_last():
    one, two = encoded(container="FLAC"), encoded(TONE[:9000], container="FLAC")
    samples = read_audio(one + two).samples
    assert np.array_equal(samples, np.concatenate([decoded(one), decoded(two)]))


def test_a_flac_that_states_less_than_it_holds_is_reported():
    assert refusal(with_total(encoded(container="FLAC"), 30_000)).message == (
        "the FLAC file is truncated: its header declares 30000 frames, but the file has 40000"
    )
    tagged = b"ID3\4\0\0\0\0\0\x14" + bytes(20) + encoded(container="FLAC") + b"TAG" + bytes(125)
    assert read_audio(tagged).frames == 40_000


def test_a_wav_whose_size_wrapped_is_read_by_what_is_there(monkeypatch):
    """Sizes wrap at 2**32; here at 2**16, or the test would write four gigabytes."""
    monkeypatch.setattr("composer.formats.audio.wav_chunks.WRAP", 2**16)
    data = encoded()
    wrapped = with_data_size(data, 80_000 - 2**16)
    assert np.array_equal(read_audio(wrapped).samples, decoded(data))
    listed = wrapped + b"LIST\4\0\0\0INFO"
    assert np.array_equal(read_audio(listed).samples, decoded(data))


def test_a_wav_of_more_than_four_gigabytes_is_given_to_its_decoder_whole(tmp_path):
    path = tmp_path / "long.wav"
    start = encoded(np.zeros((4, 8)), subtype="FLOAT", rate=192_000)
    at = start.index(b"data")
    length = 2**32 + 32 * 1000
    with path.open("wb") as file:
        file.write(with_data_size(start, length % 2**32)[: at + 8])
        file.truncate(at + 8 + length)
    with path.open("rb") as file:
        (part,), fault = riff.find_wav_parts(file, path.stat().st_size)
        assert fault is None
        assert part.frames.stated == length // 32
        with soundfile.SoundFile(part.file) as sound:
            assert (sound.frames, sound.channels) == (length // 32, 8)


@pytest.mark.parametrize(("first", "second"), [("WAV", "WAV"), ("RF64", "WAV"), ("WAV", "RF64")])
def test_joined_wav_is_read_to_the_last(first, second):
    data = encoded(container=first) + encoded(TONE[:30_000], container=second)
    expected = np.concatenate([TONE, TONE[:30_000]])
    assert np.abs(read_audio(data).samples - expected).max() < 1e-4
    other = encoded(container=first) + encoded(container=second, rate=RATE // 2)
    assert "part 2 has 1 channels at 8000 Hz" in refusal(other).message


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
@pytest.mark.parametrize("form", ["PCM_U8", "PCM_16"])
def test_a_streamed_wav_ends_where_another_file_begins(size, form):
    """Neither states where: the other's header is no sound."""
    tone = TONE[:29_999]
    one = with_data_size(encoded(tone, subtype=form), size)
    one = one[: one.index(b"data") + 8 + len(tone) * (1 if form == "PCM_U8" else 2)]
    alone, two = read_audio(one).samples, encoded(subtype=form)
    expected = np.concatenate([alone, read_audio(two).samples])
    assert np.array_equal(read_audio(one + two).samples, expected)
    assert len(read_audio(one + one).samples) == 2 * len(alone)
    for other in ("AIFF", "FLAC", "OGG"):
        data = one + encoded(container=other)
        assert refusal(data).message == (
            f"the WAV file is joined of several: from byte {len(one)} of {len(data)} on it is "
            + other.replace("OGG", "Ogg")
        )
        assert np.array_equal(read_audio(data, partial=True).samples, alone)


def test_a_streamed_aiff_ends_where_another_file_begins():
    one = encoded(container="AIFF")
    at = one.index(b"SSND") + 4
    one = one[:at] + b"\xff" * 4 + one[at + 4 :]
    data = one + encoded()
    assert refusal(data).message.endswith(f"from byte {len(one)} of {len(data)} on it is WAV")


def test_noise_is_no_file_that_follows():
    """Marks that samples have by chance, without what belongs to them."""
    noise = np.random.default_rng(0).integers(-(2**15), 2**15, 40_000).astype("<i2")
    for place, mark in enumerate((b"RIFF", b"OggS", b"fLaC", b"ID3\4", b"caff", b"FORM", b"#!AM")):
        noise[500 * place : 500 * place + 2] = np.frombuffer(mark, "<i2")
    data = with_data_size(encoded(noise.astype("f4") / 2**15), 0)
    assert read_audio(data).frames == 40_000


def test_a_second_chunk_of_samples_is_read_too():
    data = encoded()
    at = data.index(b"data") + 8
    half = struct.pack("<I", 40_000)
    two = data[: at - 4] + half + data[at : at + 40_000] + b"data" + half + data[at + 40_000 :]
    assert np.array_equal(read_audio(two).samples, decoded(data))


MP4 = ("-c:a", "aac", "-f", "mp4", "-movflags", "frag_keyframe+empty_moov")
JOINED = [("WAV", "AIFF"), ("AIFF", "AIFF"), ("MP3", "WAV"), ("MP3", "FLAC"), ("OGG", "MP3"),
          ("MP4", "MP4")]  # fmt: skip


@pytest.mark.parametrize(("kind", "other"), JOINED)
def test_a_file_that_another_follows_is_refused_with_both_lengths(kind, other):
    one, two = (made(*MP4) if name == "MP4" else encoded(container=name) for name in (kind, other))
    kind = kind.replace("OGG", "Ogg")
    assert refusal(one + two).message == (
        f"the {kind} file is joined of several: from byte {len(one)} of {len(one + two)} on "
        f"it is {other}"
    )
    alone = read_audio(one)
    part = read_audio(one + two, partial=True)
    assert np.array_equal(part.samples, alone.samples)
    assert part.notes


def test_raw_aac_after_a_tag_is_named():
    data = b"ID3\4\0\0\0\0\0\x14" + bytes(20) + made("-c:a", "aac", "-f", "adts", seconds=1)
    assert refusal(data).message == (
        "the MP3 file holds raw AAC after its ID3 tag, which is not read"
    )


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "RF64"])
def test_a_size_that_is_less_than_there_is_reported_with_both(kind):
    data = bytearray(encoded(np.append(TONE, 0.25), container=kind))
    name = b"SSND" if kind == "AIFF" else b"data"
    if kind == "RF64":
        at = data.index(b"ds64") + 16
        data[at : at + 8] = struct.pack("<Q", 60_000)
        data[-1:] = b"\x11"
    else:
        at = data.index(name) + 4
        data[at : at + 4] = struct.pack(">I" if kind == "AIFF" else "<I", 60_000)
    problem = refusal(bytes(data))
    assert problem.code == "S483"
    assert "60000" in problem.message
    assert "has 800" in problem.message


def test_an_aiff_that_states_other_frames_than_it_holds_is_reported():
    data = bytearray(encoded(container="AIFF"))
    at = data.index(b"COMM") + 10
    data[at : at + 4] = struct.pack(">I", 30_000)
    assert refusal(bytes(data)).message == (
        "the AIFF file is truncated: its header declares 30000 frames, but the file has 40000"
    )


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (("-c:a", "flac", "-f", "oga"), "the Ogg file holds FLAC"),
        (("-c:a", "libspeex", "-f", "ogg"), "the Ogg file holds Speex"),
        (("-ar", "8000", "-c:a", "g726", "-f", "wav"), "the WAV file holds G.726 ADPCM"),
        (("-c:a", "libmp3lame", "-f", "wav"), "the WAV file holds MP3"),
        (("-c:a", "aac", "-f", "wav"), "the WAV file holds AAC"),
        (("-ar", "48000", "-c:a", "ac3", "-f", "wav"), "the WAV file holds AC-3"),
    ],
)
def test_a_codec_that_is_not_read_is_named(options, messages):
    problem = refusal(made(*options))
    assert problem.code == "S481"
    assert problem.message == f"{messages}, which is not read"
    assert problem.hint == "convert it: ffmpeg -i INPUT -ar 16000 a.wav"


@pytest.mark.parametrize("name", ["flac.oga", "g726.wav"])
def test_the_cases_are_named_and_not_damaged(name):
    assert refusal(CASES / name).code == "S481"


@pytest.mark.parametrize(
    ("head", "messages"),
    [(b"\x80theora\3\2\1", "Theora video"), (b"fishead\0\3\0", "a Skeleton")],
)
def test_a_video_or_a_skeleton_beside_the_sound_is_named(head, messages):
    page = b"OggS\0\2" + bytes(8) + b"wxyz" + bytes(8) + b"\1" + bytes([len(head)]) + head
    page = page[:22] + checksum(page).to_bytes(4, "little") + page[26:]
    assert (
        refusal(page + encoded(container="OGG")).message
        == f"the Ogg file holds {messages}, which is not read"
    )


def test_an_estimate_that_was_wrong_is_no_truncation():
    """The last block of ADPCM is not full, and nothing but its frames is lost."""
    for codec in ("adpcm_ima_wav", "adpcm_ms"):
        data = made("-c:a", codec, "-f", "wav")
        assert abs(read_audio(data).frames - len(decoded(data))) <= 4096


@pytest.mark.parametrize("container", ["WAV", "AIFF", "FLAC", "OGG", "MP3"])
def test_a_recording_that_was_cut_short_is_read_as_far_as_it_goes(container):
    data = encoded(np.tile(TONE, 4), container=container)
    whole = read_audio(data)
    truncated = data[: int(len(data) * 0.6)]
    hint = refusal(truncated).hint
    assert hint.endswith("or read it as far as it goes by --partial")
    part = read_audio(truncated, partial=True)
    assert 0.3 < part.frames / whole.frames < 0.7
    assert part.notes[0].startswith(f"read as far as it goes, {part.seconds:.2f} s: the ")
    assert np.abs(part.samples[:30_000] - whole.samples[:30_000]).max() < 0.05
    assert read_audio(data, partial=True).notes == ()


def test_what_holds_nothing_is_refused_though_it_may_be_partial():
    with pytest.raises(ComposerError, match="S4"):
        read_audio(encoded(container="FLAC")[:60], partial=True)
    with pytest.raises(ComposerError, match="S481"):
        read_audio(CASES / "g726.wav", partial=True)


def test_hours_of_flac_are_refused_within_bounded_memory():
    """Eight hours: by its header, and where that states nothing, once six are decoded."""
    file = io.BytesIO()
    soundfile.write(file, TONE, RATE, format="FLAC")
    problem = refusal(with_total(file.getvalue(), 8 * 3600 * RATE))
    assert problem.message == "the audio is longer than 6 hours at 16000 Hz"

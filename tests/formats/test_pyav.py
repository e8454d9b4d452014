"""MP4, WebM, ASF, AMR, AAC and CAF by PyAV, each compared with ffmpeg's own decoding."""

import importlib.util
import shutil
import subprocess

import numpy as np
import pytest

import composer
from composer import ComposerError
from composer.formats.audio import pyav
from composer.formats.audio.reading import read_audio, read_long
from composer.formats.audio.recording import Recording

pytestmark = [
    pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg writes the clips"),
    pytest.mark.skipif(not importlib.util.find_spec("av"), reason="PyAV is an extra"),
]
SECONDS = 3.37
FILES = {
    "aac.m4a": ["-c:a", "aac"],
    "alac.m4a": ["-c:a", "alac"],
    "faststart.mp4": ["-c:a", "aac", "-movflags", "faststart"],
    "fragments.mp4": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"],
    "pcm.mov": ["-c:a", "pcm_s16le"],
    "aac.3gp": ["-c:a", "aac"],
    "opus.webm": ["-c:a", "libopus", "-ar", "48000"],
    "flac.mka": ["-c:a", "flac"],
    "wma.wma": ["-c:a", "wmav2"],
    "aac.aac": ["-c:a", "aac"],
    "pcm.caf": ["-c:a", "pcm_s16be"],
}
EXACT = ("alac.m4a", "pcm.mov", "flac.mka", "pcm.caf")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")

    def written(name, channels=1):
        path = folder / f"{channels}-{name}"
        if not path.exists():
            noise = np.random.default_rng(0).normal(0, 0.1, (round(SECONDS * 16_000), channels))
            command = ["ffmpeg", "-v", "error", "-f", "f32le", "-ar", "16000", "-ac", str(channels)]
            command += ["-i", "-", *FILES[name], str(path)]
            subprocess.run(command, input=noise.astype("<f4").tobytes(), check=True)
        return path

    return written


def decoded(path, channels=1):
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "f32le", "-"]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(made, "<f4").reshape(-1, channels)


def refused(source, **given):
    with pytest.raises(ComposerError) as caught:
        read_audio(source, **given)
    (problem,) = caught.value.problems
    return problem.code, problem.message


@pytest.mark.parametrize("name", FILES)
def test_it_is_what_ffmpeg_decodes(file, name):
    audio, expected = read_audio(file(name)), decoded(file(name))[:, 0]
    assert audio.notes == ()
    if name in EXACT:
        assert audio.seconds == SECONDS
        np.testing.assert_array_equal(audio.samples, expected)
        return
    # A filling of less than a fifth of a second may be cut off, where the container counts frames.
    assert 0 <= len(expected) - audio.frames < 0.2 * audio.rate
    assert abs(audio.seconds - SECONDS) < 0.1
    np.testing.assert_allclose(audio.samples, expected[: audio.frames], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["aac.m4a", "pcm.caf", "opus.webm"])
def test_channels(file, name):
    expected = decoded(file(name, 2), 2)
    left = read_audio(file(name, 2), channel="left")
    np.testing.assert_allclose(left.samples, expected[: left.frames, 0], atol=1e-4)
    mix = read_audio(file(name, 2))
    np.testing.assert_allclose(mix.samples, expected[: mix.frames].mean(1), atol=1e-4)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_short_is_refused_wherever_it_is_cut(file, name):
    data = file(name).read_bytes()
    for part in (0.3, 0.5, 0.77, 0.9, 0.99, 1 - 1 / len(data)):
        code, message = refused(data[: int(len(data) * part)])
        assert code == "S483", (part, message)


def test_both_lengths_are_named(file):
    data = file("opus.webm").read_bytes()
    _, message = refused(data[:-100])
    assert message == (
        f"the Matroska file is truncated: its segment ends at byte {len(data)}, the file at "
        f"{len(data) - 100}"
    )


def test_a_part_is_read_where_that_is_asked_for(file):
    data = file("aac.aac").read_bytes()
    audio = read_audio(data[: len(data) // 2], partial=True)
    assert 1.5 < audio.seconds < 1.8
    assert "read as far as it goes, 1.54 s: the ADTS file is" in audio.notes[0]


def test_a_container_that_states_more_than_there_is_is_refused(file):
    """A claim of 30 s over 3.4 s of sound."""
    data = bytearray(file("flac.mka").read_bytes())
    at = data.find(b"\x44\x89\x88")  # the duration, a float of 64 bits, in ms
    data[at + 3 : at + 11] = np.array(30_000.0, ">f8").tobytes()
    code, message = refused(bytes(data))
    assert (code, message) == (
        "S483",
        "the Matroska file is truncated: its header declares 480000 frames, but the file has 53920",
    )


def test_an_absurd_claim_is_refused_before_it_is_decoded(file):
    data = bytearray(file("flac.mka").read_bytes())
    at = data.find(b"\x44\x89\x88")
    data[at + 3 : at + 11] = np.array(4e10, ">f8").tobytes()
    assert refused(bytes(data))[0] == "S487"
    assert refused(file("aac.m4a"), max_seconds=2.0)[0] == "S487"


def test_damage_is_refused(file):
    data = bytearray(file("aac.m4a").read_bytes())
    data[5000:5400] = b"\xff" * 400
    assert refused(bytes(data))[0] == "S489"


def test_a_film_without_sound(tmp_path):
    path = tmp_path / "film.mp4"
    command = "ffmpeg -v error -f lavfi -i testsrc=duration=1:size=64x64 -an".split()
    subprocess.run([*command, str(path)], check=True)
    assert refused(path) == ("S481", "the MP4 file holds no audio track, which is not read")


def test_the_sound_of_a_film(tmp_path):
    path = tmp_path / "film.mp4"
    command = "ffmpeg -v error -f lavfi -i testsrc=duration=1:size=64x64 -f lavfi -i".split()
    subprocess.run([*command, "sine=440:duration=1", "-c:a", "aac", str(path)], check=True)
    assert read_audio(path).seconds == pytest.approx(1.0, abs=0.05)


def live(data):
    """Return a CAF as a recorder leaves it that wrote no size of its sound."""
    at = data.index(b"data") + 4
    return data[:at] + b"\xff" * 8 + data[at + 8 :]


def test_a_live_recording_in_caf_is_read_to_its_end(file, tmp_path):
    data = live(file("pcm.caf").read_bytes())
    audio = read_audio(data)
    assert audio.notes == ()
    np.testing.assert_array_equal(audio.samples, decoded(file("pcm.caf"))[:, 0])
    cut = "the CAF file is truncated: its last packet is cut off"
    assert refused(data[:-101]) == ("S483", cut)
    np.testing.assert_array_equal(
        read_audio(data[:-101], partial=True).samples, audio.samples[:-51]
    )
    command = ["ffmpeg", "-v", "error", "-i", str(file("pcm.caf")), "-c:a", "alac"]
    subprocess.run([*command, str(tmp_path / "a.caf")], check=True)
    sizes = "the CAF file is truncated: it has no table of its packets ('pakt')"
    assert refused(live((tmp_path / "a.caf").read_bytes())) == ("S483", sizes)


def test_joined_aac_is_read_to_its_end_or_refused_for_what_it_is(file, tmp_path):
    one = file("aac.aac").read_bytes()
    two = file("aac.aac", 2).read_bytes()
    twice = read_audio(one + one)
    (tmp_path / "twice.aac").write_bytes(one + one)
    np.testing.assert_allclose(twice.samples, decoded(tmp_path / "twice.aac")[:, 0], atol=1e-4)
    assert refused(one + two) == (
        "S489",
        "the ADTS file is joined of several: part 2 has 2 channels at 16000 Hz, and those before "
        "it 1 at 16000 Hz",
    )


@pytest.fixture(scope="module")
def live_webm(file):
    """Return WebM as a browser records it: no sizes but those of its blocks."""
    command = ["ffmpeg", "-v", "error", "-i", str(file("opus.webm")), "-c", "copy", "-live", "1"]
    return subprocess.run([*command, "-f", "webm", "-"], capture_output=True, check=True).stdout


def test_a_live_webm_that_is_cut_within_a_block_is_truncated(file, live_webm):
    np.testing.assert_array_equal(
        read_audio(live_webm).samples, read_audio(file("opus.webm")).samples
    )
    for left_out in (1, 7, 100, 1000, len(live_webm) // 2):
        code, message = refused(live_webm[:-left_out])
        assert code == "S483"
        assert message.startswith("the Matroska file is truncated: its ")
        part = read_audio(live_webm[:-left_out], partial=True)
        assert part.notes
    assert 1.4 < part.seconds < 2


@pytest.mark.parametrize("first", ["live", "whole"])
def test_a_webm_that_another_follows_is_refused_with_the_place(file, live_webm, first):
    whole = file("opus.webm").read_bytes()
    one = live_webm if first == "live" else whole
    assert refused(one + whole) == (
        "S489",
        f"the Matroska file is joined of several: from byte {len(one)} of {len(one + whole)} on "
        "it is Matroska",
    )
    part = read_audio(one + whole, partial=True)
    np.testing.assert_array_equal(part.samples, read_audio(whole).samples)


@pytest.mark.parametrize("value", [0, 1, 0x7F, 0xFF])
def test_damage_of_a_live_webm_ends_in_an_answer_or_a_refusal(live_webm, value):
    found = set()
    for place in (5, 40, 120, 300, 1200):
        data = bytearray(live_webm)
        data[place : place + 3] = bytes([value] * 3)
        try:
            read_audio(bytes(data))
        except ComposerError as error:
            found.add(error.problems[0].code)
    assert found <= {"S481", "S482", "S483", "S489"}


def test_a_codec_that_is_not_known_is_named(live_webm):
    assert refused(live_webm.replace(b"A_OPUS", b"A_OPUZ")) == (
        "S481",
        "the Matroska file holds a codec that FFmpeg does not know, which is not read",
    )


def test_amr(tmp_path):
    """Frames of silence, by the standard's numbers: 20 ms each."""
    frame = bytes([0x3C]) + bytes.fromhex("0816be960801e000f03c") + bytes(21)
    whole = b"#!AMR\n" + frame * 100
    assert read_audio(whole).seconds == 2.0
    assert refused(whole[:-5]) == ("S483", "the AMR file is truncated: its last frame is cut off")
    assert refused(whole[:6] + b"\x7f" + whole[7:])[0] in ("S483", "S489")


def test_a_long_one_is_decoded_again(file):
    (long,) = read_long(file("aac.m4a"), keep=1)
    assert isinstance(long, Recording)
    whole = read_audio(file("aac.m4a")).resample(8000)
    np.testing.assert_array_equal(np.concatenate(list(long.blocks(8000))), whole.samples)


def test_without_pyav_the_error_names_the_command(file, monkeypatch):
    monkeypatch.setattr(pyav, "is_installed", lambda: False)
    with pytest.raises(ComposerError) as caught:
        composer.read_audio(file("aac.m4a"))
    assert str(caught.value) == (
        f"{file('aac.m4a')}: S481 this is an MP4/M4A file, which PyAV reads, and it is not "
        "installed\n    hint: pip install 'bundle-composer[av]'"
    )


def test_a_container_is_not_left_to_guess(tmp_path):
    """FFmpeg would open what a playlist names, and other files with it."""
    (tmp_path / "a.m4a").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    assert refused(tmp_path / "a.m4a")[0] == "S481"

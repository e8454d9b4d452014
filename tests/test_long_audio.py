"""Long audio: cut in pauses, in memory that does not grow, and with no word lost or doubled."""

import io
import json
from functools import partial
from itertools import pairwise

import jiwer
import numpy as np
import pytest
import soundfile

import composer
from composer.cli import main
from composer.formats.audio.reading import read_audio, read_channels, read_long
from composer.formats.audio.recording import Recording
from composer.runtime.cutting import cut
from composer.runtime.speech_scores import SpeechScores
from tests.long_audio import RATE, recording
from tests.miniatures import mega as mega  # a fixture

SECONDS = 45


@pytest.fixture(scope="module")
def long():
    samples, sentences = recording(SECONDS, pool=8)
    return samples, sentences


@pytest.fixture(scope="module")
def file(long, tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.flac"
    soundfile.write(path, long[0], RATE)
    return path


@pytest.fixture(scope="module")
def made(mega, file):
    (found,) = composer.transcribe(mega, [file])
    return found


def level_at(samples, at):
    """Return the level of a tenth of a second around a sample; speech has 0.01 and more."""
    return float(np.sqrt(np.square(samples[max(0, at - 800) : at + 800]).mean()))


def require_partition(found, seconds):
    """Every sample is in one segment, and the report adds up."""
    assert found.segments[0].start == 0.0
    assert found.segments[-1].end == seconds == found.audio_seconds
    for one, other in pairwise(found.segments):
        assert one.end == other.start
    np.testing.assert_allclose(found.run_seconds + found.silent_seconds, seconds, atol=1e-9)


def test_segments_are_all_of_the_audio(made, long):
    require_partition(made, len(long[0]) / RATE)
    assert found_in_json(made) == {
        "audio": round(len(long[0]) / RATE, 3),
        "run": round(made.run_seconds, 3),
        "silent": round(made.silent_seconds, 3),
    }


def found_in_json(made):
    from composer.jobs.output_format import output_format

    objects = [json.loads(output_format(name).file(made)) for name in ("json", "verbose_json")]
    assert objects[0]["coverage"] == objects[1]["coverage"]
    silences = [[each.start, each.end] for each in made.segments if each.silent]
    listed = [[each["start"], each["end"]] for each in objects[1]["silences"]]
    np.testing.assert_allclose(listed, silences, atol=6e-4)
    return objects[0]["coverage"]


def test_no_word_is_cut_and_every_sentence_is_in_one_piece(made, long):
    cuts = [round(segment.start * RATE) for segment in made.segments[1:]]
    assert len(cuts) > 8
    assert not [at for at in cuts if any(each.start < at < each.stop for each in long[1])]
    assert max(map(partial(level_at, long[0]), cuts)) < 0.001
    assert max(each.end - each.start for each in made.segments if not each.silent) <= 9.0


def test_silence_is_not_run_and_has_no_text(made, long):
    silent = [each for each in made.segments if each.silent]
    assert len(silent) >= 2
    assert {each.text for each in silent} == {""}
    pauses = sum(
        other.start - one.stop for one, other in pairwise(long[1])
        if other.start - one.stop >= 2 * RATE
    ) / RATE  # fmt: skip
    assert made.silent_seconds > 0.6 * pauses


def test_no_word_is_lost_or_doubled_at_a_cut(mega, made, long):
    """The whole text is that of its pieces, and those of whole sentences."""
    samples, sentences = long
    separate = []
    for segment in made.segments:
        if not segment.silent:
            part = samples[round(segment.start * RATE) : round(segment.end * RATE)]
            separate.append(mega.run(audio=(part, RATE)).text)
    # The pieces are of a file of 16 bits: a rounding may change a word of the model's, no more.
    assert jiwer.wer(" ".join(separate), made.text) < 0.05
    want = " ".join(each.text for each in sentences)
    assert jiwer.wer(want, made.text) < 0.1
    assert abs(len(made.text.split()) - len(want.split())) <= 0.03 * len(want.split())


def test_a_file_its_bytes_and_its_samples_are_one_run(mega, made, file):
    samples, _ = soundfile.read(file, dtype="float32")
    for source in (file.read_bytes(), (samples, RATE), io.BytesIO(file.read_bytes())):
        result = mega.run(audio=source)
        assert result.text == made.text
        assert [each.start for each in result.segments] == [each.start for each in made.segments]


def test_a_stream_is_the_run(mega, made, file):
    with mega.stream(audio=file) as stream:
        for _ in stream:
            pass
    assert stream.result.text == made.text


@pytest.mark.parametrize("seconds", [3.0, 20.0])
def test_silence_alone_gives_no_text_and_no_call(mega, seconds):
    quiet = np.random.default_rng(0).normal(0, 1e-4, round(seconds * RATE)).astype(np.float32)
    result = mega.run(audio=(quiet, RATE), taps=["answer.ids"])
    assert (result.text, result.tokens, result.timings, result.taps) == ("", 0, {}, {})
    assert result.outputs["language"] == ""
    assert all(segment.silent for segment in result.segments)
    assert sum(each.end - each.start for each in result.segments) == seconds


def test_what_fits_is_run_whole(mega):
    """As the model's own code does, whatever its pauses are."""
    samples, _ = recording(4, pool=2)
    samples = samples[: 9 * RATE]
    (segment,) = mega.run(audio=(samples, RATE)).segments
    assert (segment.start, segment.end, segment.silent) == (0.0, len(samples) / RATE, False)


def test_the_command_line_says_the_same(made, file, capsys):
    assert main(["transcribe", "mega-asr-mini", str(file), "-f", "json"]) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    assert (printed["text"], len(printed["segments"])) == (made.text, len(made.segments))


# What is cut, from scores that a test gives.


def cuts(scores, seconds, frames=None, rate=1000, step=0.1):
    samples = np.random.default_rng(0).normal(0, 0.1, frames or round(len(scores) * step * rate))
    audio = read_audio((samples.astype(np.float32), rate * 4)).resample(rate)
    audio = read_audio((np.resize(audio.samples, round(len(scores) * step * 4000)), 4000))
    found = list(cut(audio, 4000, seconds, SpeechScores(np.array(scores, np.float32), step)))
    joined = [each for each in found if each.audio is not None]
    assert all(len(each.audio.samples) == round((each.stop - each.start) * 4000) for each in joined)
    assert all(one.stop == other.start for one, other in pairwise(found))
    assert (found[0].start, found[-1].stop) == (0.0, audio.seconds)
    return [(round(each.start, 3), round(each.stop, 3), each.audio is None) for each in found]


def test_the_longest_late_pause_ends_a_piece():
    scores = [1.0] * 20 + [0.2] * 8 + [1.0] * 22 + [0.2] * 6 + [1.0] * 14 + [0.2] * 3 + [1.0] * 27
    assert cuts(scores, 8) == [(0.0, 5.3, False), (5.3, 10.0, False)]


def test_an_early_pause_is_better_than_none():
    scores = [1.0] * 10 + [0.2] * 3 + [1.0] * 60
    assert cuts(scores, 6)[0] == (0.0, 1.15, False)


def test_a_dip_is_no_pause():
    """Speech begins at 0.5 and ends below 0.35: 0.4 within it is speech."""
    scores = [1.0] * 20 + [0.4] * 5 + [1.0] * 10 + [0.3] * 3 + [1.0] * 20
    assert cuts(scores, 4)[0] == (0.0, 3.65, False)


def test_long_silence_is_a_piece_of_its_own():
    scores = [1.0] * 20 + [0.0] * 30 + [1.0] * 20 + [0.0] * 40
    assert cuts(scores, 9) == [
        (0.0, 2.3, False), (2.3, 4.7, True), (4.7, 7.3, False), (7.3, 11.0, True),
    ]  # fmt: skip


def test_sound_that_may_be_speech_is_run():
    scores = [1.0] * 20 + [0.2] * 30 + [1.0] * 20
    assert [silent for _, _, silent in cuts(scores, 9)] == [False]


# A recording is decoded again for each pass, and is what the whole file is.


@pytest.mark.parametrize(
    ("suffix", "level"), [("wav", 0.1), ("wav", 0.9), ("flac", 0.1), ("ogg", 0.3), ("mp3", 0.3)]
)
def test_a_recording_has_the_samples_of_the_file(tmp_path, suffix, level):
    path = tmp_path / f"a.{suffix}"
    samples = np.random.default_rng(1).normal(0, level, (44_100 * 13 + 7, 2))
    subtype = {"wav": "FLOAT"}.get(suffix)
    soundfile.write(path, samples.astype(np.float32), 44_100, subtype=subtype)
    for channel in ("mix", "left", "right"):
        (long,) = read_long(path, channel=channel, keep=10)
        assert isinstance(long, Recording)
        whole = read_audio(path, channel=channel)
        assert (long.frames, long.rate, long.notes) == (whole.frames, whole.rate, whole.notes)
        for rate in (16_000, 44_100):
            got = np.concatenate(list(long.blocks(rate)))
            np.testing.assert_array_equal(got, whole.resample(rate).samples)
    each = read_long(path, channel="each", keep=10)
    assert [one.source for one in each] == [one.source for one in read_channels(path).each]
    right = np.concatenate(list(each[1].blocks(16_000)))
    np.testing.assert_array_equal(right, read_channels(path).each[1].resample(16_000).samples)


def test_a_spike_does_not_silence_a_recording(tmp_path):
    samples = np.random.default_rng(1).normal(0, 0.1, 16_000 * 12).astype(np.float32)
    samples[5000] = 1e4
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    (long,) = read_long(tmp_path / "a.wav", keep=10)
    whole = read_audio(tmp_path / "a.wav").resample(8000)
    np.testing.assert_array_equal(np.concatenate(list(long.blocks(8000))), whole.samples)


def test_a_recording_is_refused_as_a_clip_is(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16_000 * 12, np.int16) + 100, 16_000)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    with pytest.raises(composer.ComposerError, match="S483 the WAV file is truncated"):
        read_long(path, keep=10)
    (part,) = read_long(path, keep=10, partial=True)
    assert part.frames == (len(whole) - 1000 - 44) // 2
    assert "read as far as it goes" in part.notes[0]


def test_a_recording_that_changes_meanwhile_is_refused(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(16_000 * 12, np.int16) + 100, 16_000)
    (long,) = read_long(path, keep=10)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(composer.ComposerError, match="S480 the audio file changed while"):
        list(long.blocks(16_000))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_an_hour_takes_no_more_memory_than_ten_minutes(tmp_path):
    from tests.long_audio import peak_memory

    peaks = []
    for minutes in (10, 60):
        samples, _ = recording(60 * minutes, pool=60)
        path = tmp_path / f"{minutes}.flac"
        soundfile.write(path, samples, RATE)
        del samples
        peaks.append(peak_memory(path))
    assert peaks[1] < peaks[0] + 15  # MB, of texts, tokens and scores; the samples are 230


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_half_an_hour_loses_and_doubles_no_word(mega, tmp_path):
    samples, sentences = recording(1800, pool=60)
    soundfile.write(tmp_path / "long.flac", samples, RATE)
    (found,) = composer.transcribe(mega, [tmp_path / "long.flac"])
    require_partition(found, len(samples) / RATE)
    cuts = [round(segment.start * RATE) for segment in found.segments[1:]]
    # Seconds of speech may have no pause: then a piece ends where it is quietest.
    loud = [at for at in cuts if level_at(samples, at) >= 0.001]
    assert len(loud) <= len(cuts) / 200
    want = " ".join(each.text for each in sentences)
    alone = {each.text: mega.run(audio=(each.samples, RATE)).text for each in sentences}
    separate = jiwer.wer(want, " ".join(alone[each.text] for each in sentences))
    assert jiwer.wer(want, found.text) < separate + 0.05

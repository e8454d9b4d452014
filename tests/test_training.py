"""What both miniatures share: sentences, speakers, conditions, features, targets, evaluation."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import librosa
import numpy as np
import pytest

from training import corpus, espeak, evaluate, features, grammar, heldout, speech, targets


def draw(seed: int, held_out: bool, count: int = 400) -> list[str]:
    random = Random(seed)
    return [
        grammar.sentence(random, category, held_out)
        for category in grammar.CATEGORIES
        for _ in range(count // 3)
    ]


def test_grammar_is_a_function_of_the_seed() -> None:
    assert draw(1, held_out=False) == draw(1, held_out=False)
    assert draw(1, held_out=False) != draw(2, held_out=False)


def test_no_sentence_is_on_both_sides() -> None:
    assert not set(draw(1, held_out=False)) & set(draw(1, held_out=True))
    assert all(grammar.is_held_out(line) for line in draw(3, held_out=True))


def test_held_out_sentences_use_training_words() -> None:
    known = {word for line in draw(5, held_out=False, count=12000) for word in line.split()}
    assert {word for line in draw(6, held_out=True) for word in line.split()} <= known
    assert 200 < len(known) < 400


def test_sentences_are_lower_case_words() -> None:
    assert all(re.fullmatch(r"[a-z']+( [a-z']+)*", line) for line in draw(7, held_out=False))


def test_numbers_below_one_hundred_are_distinct() -> None:
    assert len({grammar.number(Random(0), value, value) for value in range(100)}) == 100


def test_held_out_voices_are_disjoint() -> None:
    assert not set(speech.VARIANTS) & set(speech.HELD_OUT_VARIANTS)
    assert not set(speech.ACCENTS) & set(speech.HELD_OUT_ACCENTS)
    random = Random(0)
    train = {speech.voice(random, held_out=False).name for _ in range(2000)}
    test = {speech.voice(random, held_out=True) for _ in range(2000)}
    assert not train & {voice.name for voice in test}
    assert {voice.variant for voice in test} == set(speech.HELD_OUT_VARIANTS)


@pytest.mark.parametrize("kind", speech.NOISES)
def test_noise_has_the_snr_it_is_given(kind: str) -> None:
    generator = np.random.default_rng(0)
    wave = generator.standard_normal(32000, dtype=np.float32) * np.float32(0.1)
    babble = [generator.standard_normal(9000, dtype=np.float32) for _ in range(4)]
    peak = 0.5
    out = speech.record(wave, 16000, speech.Condition(kind, 10.0, peak=peak), Random(1), babble)
    assert out.dtype == np.float32
    assert np.abs(out).max() == pytest.approx(peak, rel=1e-4)
    scale = np.dot(out, wave) / np.dot(wave, wave)
    rest = out - scale * wave
    snr = 10 * np.log10(np.sum((scale * wave) ** 2) / np.sum(rest**2))
    assert snr == pytest.approx(10.0, abs=0.5)


def test_a_room_keeps_the_length_and_starts_with_the_direct_sound() -> None:
    response = speech.room(0.3, 16000, Random(2))
    assert len(response) == 4800
    assert response[0] == 1.0
    assert np.sum(response[2400:] ** 2) < 0.1 * np.sum(response[1:2400] ** 2)
    wave = np.ones(8000, np.float32)
    out = speech.record(wave, 16000, speech.Condition(reverberation=0.3), Random(2), [])
    assert len(out) == 8000


def test_conditions_are_named_after_what_they_do() -> None:
    assert speech.Condition().name == "clean"
    assert speech.Condition("pink", 12.0, 0.3).name == "room+pink"
    drawn = {speech.condition(Random(seed)).name for seed in range(300)}
    assert drawn == {"clean", "room", *speech.NOISES, *(f"room+{n}" for n in speech.NOISES)}


@pytest.mark.usefixtures("speaks")
def test_espeak_gives_speech_with_times() -> None:
    voice = speech.Voice("en-us", "f1", 160, 50)
    spoken = speech.speak("where is the library", voice)
    assert [position for _, position in spoken.words[:4]] == [0, 6, 9, 13]
    times = [time for time, _ in spoken.phones]
    assert times == sorted(times)
    assert 0.8 < len(spoken.wave) / espeak.RATE < 2.5
    assert 0.05 < np.abs(spoken.wave).max() <= 1.0


@pytest.mark.usefixtures("speaks")
def test_an_unknown_voice_is_refused() -> None:
    with pytest.raises(ValueError, match="espeak-ng has no voice xx-nowhere"):
        espeak.speak("one", "xx-nowhere", 160, 50)


SPEAK = """
import ctypes, hashlib, sys
ctypes.CDLL(None).srand(int(sys.argv[1]))
from training import espeak
print(hashlib.sha256(espeak.speak("one", "en+victor", 160, 50).wave.tobytes()).hexdigest())
"""


@pytest.mark.usefixtures("speaks")
def test_a_breathy_voice_is_the_same_whoever_has_drawn_random_numbers() -> None:
    waves = {
        subprocess.run(
            [sys.executable, "-c", SPEAK, seed],
            cwd=Path(__file__).parents[1],
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "7")
    }
    assert len(waves) == 1


def test_a_missing_library_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak.util, "find_library", lambda name: None)
    with pytest.raises(RuntimeError, match="espeak-ng is not installed"):
        espeak.Engine()


@pytest.mark.usefixtures("speaks")
def test_every_voice_speaks() -> None:
    for variant in (*speech.VARIANTS, *speech.HELD_OUT_VARIANTS):
        voice = speech.Voice("en-us", variant, 160, 50)
        assert np.abs(speech.speak("nine", voice).wave).max() > 0.02, variant


def test_filters_are_slaney_s() -> None:
    for mels in (80, 128):
        np.testing.assert_allclose(
            features.filters(mels), librosa.filters.mel(sr=16000, n_fft=400, n_mels=mels), atol=1e-7
        )


def test_log_mel_is_whisper_s() -> None:
    transformers = pytest.importorskip("transformers")
    wave = np.random.default_rng(0).standard_normal(30000, dtype=np.float32) * np.float32(0.1)
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    expected = extractor(wave, sampling_rate=16000, padding="longest", return_tensors="np")
    found = features.log_mel(wave, 80)
    assert found.shape == (80, 187)
    np.testing.assert_allclose(found, expected.input_features[0], atol=2e-5)


def test_word_ends_fill_in_what_the_synthesizer_joins() -> None:
    entry = corpus.Utterance(
        "get from the bank",
        "questions",
        "en",
        0,
        16000,
        [(0.0, "g"), (0.9, "_")],
        [(0.0, 0), (0.2, 4), (0.6, 13)],
    )
    assert targets.word_ends(entry) == pytest.approx([0.2, 0.4, 0.6, 0.9])


@pytest.mark.usefixtures("speaks")
def test_held_out_set_is_a_function_of_the_seed() -> None:
    first, again = (list(heldout.items(5, seed=3)) for _ in range(2))
    assert [item.text for item in first] == [item.text for item in again]
    assert [item.category for item in first] == [*heldout.CATEGORIES, "digits"]
    assert len(first[3].wave) > 8.0 * espeak.RATE


@pytest.mark.usefixtures("speaks")
def test_held_out_samples_are_the_same_in_every_process() -> None:
    script = (
        "import hashlib; from training import heldout; "
        "waves = [item.wave.tobytes() for item in heldout.items(4, seed=3)]; "
        "print(hashlib.sha256(b''.join(waves)).hexdigest())"
    )
    outs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    assert len(outs[0]) == 65
    assert outs[0] == outs[1]


def test_errors_are_pooled_by_group() -> None:
    item = heldout.Item("one two three", "digits", "en", speech.Condition(), np.zeros(1))
    items = [item, replace(item, text="four", category="dates")]
    groups = evaluate.measure(lambda wave: "one too three four", items)
    assert groups["all"]["errors"] == 2 + 3
    assert groups["digits"] == {
        "utterances": 1,
        "words": 3,
        "errors": 2,
        "wrong": 1,
        "wer": 66.67,
    }


@pytest.mark.parametrize(
    ("reference", "found", "errors"),
    [("a b c", "a b c", 0), ("a b c", "", 3), ("", "a", 1), ("a b c", "b c d", 2)],
)
def test_word_distance(reference: str, found: str, errors: int) -> None:
    assert evaluate.distance(reference.split(), found.split()) == errors

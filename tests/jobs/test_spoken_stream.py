"""The text of a clip as it becomes certain, which is at the end the text of `transcribe`."""

import numpy as np
import pytest

import composer
from composer.core.component import Component, method
from composer.formats.audio.clip import Clip
from composer.jobs.speech import speech_task
from composer.jobs.spoken_stream import SpokenStream
from tests.fakes import BUNDLE, write

CLIP = (np.arange(8, dtype=np.float32) / 8, 8000)
LONG = (np.ones(24_000, np.float32) / 2, 8000)
SPLIT = ("  audio: audio\n", "  audio: {type: audio, split: {seconds: 1}}\n")


def stream(bundle, clip, inputs=None, **kwargs):
    speech = speech_task(bundle, None, inputs or {}, {})
    return SpokenStream(speech.with_logprobs(), Clip(clip, **kwargs))


@pytest.mark.parametrize("language", ["English", ""])
def test_the_pieces_are_together_what_transcribe_gives(mini, clips, language):
    inputs = {"language": language}
    for clip, expected in zip(
        clips, composer.transcribe(mini, clips, inputs=inputs, logprobs=True), strict=True
    ):
        with stream(mini, clip, inputs) as found:
            pieces = list(found)
        assert len(pieces) > 3
        assert "".join(pieces) == expected.text
        assert found.repaired is False
        assert found.tokens >= expected.tokens
        made = found.transcription
        assert (made.text, made.segments, made.language) == (
            expected.text,
            expected.segments,
            "English",
        )


def test_tokens_have_their_probabilities(mini, clips):
    clip = next(iter(clips))
    (plain,) = composer.transcribe(mini, [clip])
    (full,) = composer.transcribe(mini, [clip], logprobs=True)
    assert plain.segments[0].ids == full.segments[0].ids
    assert len(full.segments[0].logprobs) == len(full.segments[0].ids) == full.tokens
    assert plain.segments[0].logprobs == ()
    assert all(-1 < each <= 0 for each in full.segments[0].logprobs)
    run = mini.run(audio=clip, taps=["asked.ids", "answer.ids"])
    assert full.segments[0].ids == tuple(run.taps["answer.ids"])
    assert full.prompt_tokens == len(run.taps["asked.ids"])
    assert full.duration == pytest.approx(composer.read_audio(clip).seconds, abs=1e-4)


@pytest.mark.usefixtures("fakes")
def test_pieces_of_a_long_clip_are_joined_as_the_task_joins_them(tmp_path):
    with composer.load(write(tmp_path, BUNDLE, SPLIT)) as bundle:
        found = stream(bundle, LONG)
        pieces = list(found)
    (expected,) = composer.transcribe(tmp_path / "bundle.yaml", [LONG])
    assert "".join(pieces) == found.transcription.text == expected.text
    assert len(expected.text.split()) == len(expected.segments) == 4
    assert [segment.ids for segment in expected.segments] == [
        tuple(map(ord, word)) for word in expected.text.split()
    ]


class Tidy(Component, name="fake.tidy"):
    """Drop what stands before a colon, and at the very end change the first letter."""

    @classmethod
    def load(cls, spec, facts, placement):
        return cls()

    @classmethod
    def partial_text(cls, config, texts, done):
        return texts["text"]

    @method(text="text", returns="text")
    def __call__(self, text):
        return f"!{text[1:]}"


@pytest.mark.usefixtures("fakes")
def test_a_text_that_is_changed_at_the_end_says_so(tmp_path):
    from composer.core import registry

    registry.register_component(Tidy)
    change = [
        ("  echo: {use", "  tidy: {use: fake.tidy}\n  echo: {use"),
        ("outputs: {text: $answer.text}", "  made: {run: tidy, with: {text: $answer.text}}\n"
         "outputs: {text: $made}"),
    ]  # fmt: skip
    try:
        with composer.load(write(tmp_path, BUNDLE, *change)) as bundle:
            found = stream(bundle, CLIP)
            pieces = list(found)
    finally:
        registry.unregister_component(Tidy.name)
    assert "".join(pieces) == "7."
    assert found.transcription.text == "!."
    assert found.repaired


@pytest.mark.usefixtures("fakes")
def test_a_component_that_promises_nothing_gives_its_text_at_the_end(tmp_path):
    change = [
        ("  echo: {use", "  upper: {use: fake.upper}\n  echo: {use"),
        ("outputs: {text: $answer.text}", "  made: {run: upper, with: {text: $answer.text}}\n"
         "outputs: {text: $made}"),
    ]  # fmt: skip
    with composer.load(write(tmp_path, BUNDLE, SPLIT, *change)) as bundle:
        found = stream(bundle, LONG)
        assert list(found) == [found.transcription.text]


@pytest.mark.usefixtures("fakes")
def test_a_stream_can_be_stopped_from_elsewhere(tmp_path):
    with composer.load(write(tmp_path)) as bundle:
        found = stream(bundle, CLIP)
        pieces = iter(found)
        first = next(pieces)
        found.stop()
        assert "".join([first, *pieces]) == found.transcription.text
        assert found.transcription.finish_reason == "cancelled"


@pytest.mark.usefixtures("fakes")
def test_a_clip_that_is_longer_than_it_may_be_is_refused(tmp_path):
    with composer.load(write(tmp_path)) as bundle:
        with pytest.raises(composer.ComposerError, match="S487 the audio is longer than 2 s"):
            list(stream(bundle, LONG, max_seconds=2))
        assert list(stream(bundle, LONG, max_seconds=3))

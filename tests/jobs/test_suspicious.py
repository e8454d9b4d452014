"""Text that a model probably made up is marked, and never hidden."""

import pytest

from composer.cli.transcripts import TranscriptPrinter
from composer.jobs.output_format import output_format, transcription_json
from composer.jobs.output_formats.verbose_json import verbose_object
from composer.jobs.suspicious import loop, suspicions
from composer.jobs.transcription import SpokenSegment, Transcription
from composer.server import transcriptions

DIGITS = "five zero six four five zero two four seven eight seven seven two four five five five"


@pytest.mark.parametrize(
    ("text", "phrase", "times"),
    [
        ("so " + "thank you " * 9 + "all", "thank you", 9),
        ("the " * 13, "the", 13),
        ("谢谢" * 9, "谢", 18),
        ("ありがとう" * 4, "ありがとう", 4),
        ("a b c d " * 4 + "e", "a b c d", 4),
        (DIGITS, "", 0),
        ("very very very very good", "", 0),
        ("no no no no no no no no no no no", "", 0),
        ("", "", 0),
    ],
)
def test_loops(text, phrase, times):
    assert loop(text) == (phrase, times)


@pytest.mark.parametrize(
    ("text", "seconds", "speech", "logprobs", "reasons"),
    [
        (DIGITS, 6.0, 0.9, (-0.1, -0.4), []),
        (DIGITS, 6.0, None, (), []),
        (DIGITS, 1.0, 0.9, (), ["85 characters a second"]),
        ("hello", 0.001, 0.9, (), []),
        ("hello", 3.0, 0.2, (), ["text, though nothing is surely speech (score 0.20)"]),
        ("hello", 3.0, 0.9, (-2.0, -1.5), ["the model is unsure: -1.75 per token"]),
        ("", 3.0, 0.9, (), ["no text, though there is speech"]),
        ("", 3.0, 0.2, (), []),
        ("", 0.5, 0.9, (), []),
        ("thank you " * 20, 30.0, 0.9, (),
         ["'thank you' 20 times in a row", "it repeats itself: compressed by 9.5"]),
    ],
)  # fmt: skip
def test_reasons(text, seconds, speech, logprobs, reasons):
    assert list(suspicions(text, seconds, speech, logprobs)) == reasons


def test_it_is_printed_in_every_place_and_the_text_stays(capsys):
    segment = SpokenSegment(2.0, 5.0, "thank you", suspicious=("it is a loop",))
    found = Transcription("a.wav", "thank you", segments=(segment,))
    TranscriptPrinter(output_format("txt"), has_files=False).add(found)
    printed = capsys.readouterr()
    assert printed.out == "thank you\n"
    assert printed.err == "a.wav: suspicious at 2.00 to 5.00 s: it is a loop\n"
    for each in (transcription_json(found), verbose_object(found)):
        assert each["segments"][0]["suspicious"] == ["it is a loop"]
        assert each["segments"][0]["text"] == "thank you"
    assert transcriptions._warnings(found) == ["suspicious at 2.00 to 5.00 s: it is a loop"]

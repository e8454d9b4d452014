"""The answer of Qwen3-ASR against transformers' processor."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composer.components.text.qwen3_asr import LANGUAGES, Qwen3Asr, cut_repetitions
from composer.core.component import Facts, Spec
from composer.core.errors import ComposerError
from composer.core.placement import Placement

processing = pytest.importorskip("transformers.models.qwen3_asr.processing_qwen3_asr")


def made(**config):
    return Qwen3Asr.load(Spec("parse", Qwen3Asr.Config(**config)), Facts(), Placement())


def read(text, language=None):
    found = made()(text=text, language=language)
    assert set(found) == {"out", "language"}
    return found["out"], found["language"]


@pytest.mark.parametrize(
    ("answer", "text", "language"),
    [
        ("language English<asr_text>Hello there.", "Hello there.", "English"),
        ("  language English<asr_text> Hello.\n", "Hello.", "English"),
        ("language english<asr_text>Hi", "Hi", "English"),
        ("LANGUAGE ENGLISH<asr_text>Hi", "Hi", "English"),
        ("language None<asr_text>", "", ""),
        ("language None<asr_text>noise", "noise", ""),
        ("language English<asr_text>", "", "English"),
        ("Just text.", "Just text.", ""),
        ("", "", ""),
        (" \n", "", ""),
        ("<asr_text>Hi", "Hi", ""),
        ("language <asr_text>Hi", "Hi", ""),
        ("\n\nlanguage Thai\nmore<asr_text>Hi", "Hi", "Thai"),
        ("noise\nlanguage Thai<asr_text>Hi", "Hi", "Thai"),
        ("English<asr_text>Hi", "Hi", ""),
        ("language English<asr_text>say <asr_text> twice", "say <asr_text> twice", "English"),
        ("language English", "language English", ""),
    ],
)
def test_splits_the_answer(answer, text, language):
    assert read(answer) == (text, language)


@pytest.mark.parametrize(
    "answer",
    [
        "language English<asr_text>Hello there.",
        "language None<asr_text>",
        "language None<asr_text>noise",
        "Just text.",
        "<asr_text>Hi",
        "\n\nlanguage Thai\nmore<asr_text>Hi",
        "language Chinese<asr_text>" + "哈" * 50 + "。",
    ],
)
def test_agrees_with_transformers_where_the_two_packages_agree(answer):
    expected = processing._parse_single_output(answer)
    assert read(answer) == (expected["transcription"], expected["language"] or "")


def test_a_forced_language_leaves_the_answer_whole():
    assert read(" Hello. ", "English") == ("Hello.", "English")
    tagged = "language Thai<asr_text>Hello."
    assert read(tagged, "English") == (tagged, "English")
    assert read(tagged, "") == ("Hello.", "Thai")
    assert read("", "English") == ("", "")
    assert read("ha" * 30, "English") == ("ha", "English")


def test_refuses_to_force_what_it_does_not_know():
    with pytest.raises(ComposerError) as caught:
        read("Hi", "english")
    assert str(caught.value) == (
        "R527 'english' is not a language of this model\n    hint: did you mean 'English'?"
    )
    with pytest.raises(ComposerError, match="R527 'Klingon' is not a language of this model"):
        read("Hi", "Klingon")
    assert made(languages=["Klingon"])(text="Hi", language="Klingon")["language"] == "Klingon"


def test_knows_the_languages_of_transformers():
    assert sorted(LANGUAGES) == sorted(processing.LANGUAGE_CODE_TO_NAME.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a" * 20, "a" * 20),
        ("a" * 21, "a"),
        ("wow " + "ha" * 20 + "!", "wow ha!"),
        ("ha" * 20, "ha"),
        ("ha" * 19, "ha" * 19),
        ("no no " * 20 + "stop", "no stop"),
        ("x" + "a" * 20, "x" + "a" * 20),
        ("ab" * 25 + "cd" * 25, "abcd"),
        ("\n" * 30, "\n"),
        ("abcdefghijklmnopqrstu" * 25, "abcdefghijklmnopqrstu" * 25),
        ("abcdefghijklmnopqrst" * 25, "abcdefghijklmnopqrst"),
    ],
)
def test_cuts_repetitions_where_transformers_does(text, expected):
    assert processing._detect_and_fix_repetitions(text) == expected
    assert cut_repetitions(text, 20) == expected


pieces = st.lists(
    st.tuples(st.text("ab \n哈", min_size=1, max_size=22), st.sampled_from([1, 2, 19, 20, 21, 45])),
    max_size=5,
).map(lambda parts: "".join(piece * times for piece, times in parts))


@settings(max_examples=150, deadline=None)
@given(pieces)
def test_repairs_whatever_transformers_repairs(text):
    assert cut_repetitions(text, 20) == processing._detect_and_fix_repetitions(text)


def test_survives_what_overflows_a_recursion():
    many = "".join(f"{chr(0x4E00 + k)}b" * 20 for k in range(2000))
    assert cut_repetitions(many, 20) == "".join(f"{chr(0x4E00 + k)}b" for k in range(2000))


PREFIXES = (
    "",
    "language English<asr_text>",
    "language None<asr_text>",
    " x\nlanguage French<asr_text> ",
)
WORDS = ("a", "b", "ab", "hello ", "la " * 7, "x" * 11, " ", "\n", "的", "abc" * 9, "z" * 50)


@pytest.mark.parametrize("limit", [8, 20])
@pytest.mark.parametrize("forced", ["", "English"])
def test_what_is_certain_of_an_answer_stays(forced, limit):
    """Whatever follows: each partial text is the start of every later one, and of the answer."""
    rng = random.Random(limit)
    config = Qwen3Asr.Config(repetitions=limit)
    streamed = repaired = 0
    for _ in range(40):
        prefix = "" if forced else rng.choice(PREFIXES)
        answer = prefix + "".join(rng.choices(WORDS, k=rng.randint(0, 12)))
        whole = Qwen3Asr(config)(answer, forced)["out"]
        texts = {"text": answer, "language": forced}
        assert Qwen3Asr.partial_text(config, texts, done=True) == whole
        longest = ""
        for stop in range(0, len(answer) + 1, 5):
            part = Qwen3Asr.partial_text(config, {**texts, "text": answer[:stop]}, done=False)
            assert part.startswith(longest), answer[:stop]
            longest = part
        assert whole.startswith(longest), answer
        streamed += bool(longest)
        repaired += len(whole) < len(answer) - len(prefix) - 20
    assert streamed > 20
    assert repaired > 2

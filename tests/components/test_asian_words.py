"""Words of Japanese and Korean, as transformers separates them."""

import random
import sys

import pytest

from composer.components.text.align_prompt import split_alignment_units
from composer.components.text.japanese import japanese_words, require_japanese_tokenizer
from composer.core.errors import ComposerError

JAPANESE = [
    "今日はとても良い天気ですね。東京タワーへ行きました。",
    "ｱｲｳ ＡＢＣ１２３ abc 12%です",
    "  私は 学生 です \n改行",
    "が゛ㇰ㍻①、ﾊﾟﾝﾀﾞ",
    "それは'it's'です!?",
    "「カタカナ」と（ひらがな）と漢字 3.5 kg",
]
KOREAN = ["안녕하세요 오늘은 날씨가 좋네요", "나는 學校에  갔다, 그리고 hello 123을 봤다."]


def split_by_transformers(text, language):
    from transformers.models.qwen3_asr.processing_qwen3_asr import Qwen3ASRProcessor

    return Qwen3ASRProcessor.split_words_for_alignment(None, text, language)


def assert_places(text, units):
    """The places of the units follow one another, and nothing that is spoken is between them."""
    at = 0
    for unit in units:
        assert at <= unit.start < unit.end <= len(text)
        assert not any(each.isalnum() for each in text[at : unit.start])
        at = unit.end
    assert not any(each.isalnum() for each in text[at:])


@pytest.mark.parametrize("text", JAPANESE)
def test_japanese_is_split_as_transformers_does(text):
    pytest.importorskip("nagisa")
    units = split_alignment_units(text, "Japanese")
    assert [unit.text for unit in units] == split_by_transformers(text, "Japanese")
    assert_places(text, units)


def test_words_stand_where_they_are_written():
    pytest.importorskip("nagisa")
    text = "「ｱｲｳ」は、㍻です。"
    found = split_alignment_units(text, "Japanese")
    assert [(unit.text, text[unit.start : unit.end]) for unit in found] == [
        ("アイウ", "「ｱｲｳ」"), ("は", "は、"), ("平成", "㍻"), ("です", "です。"),
    ]  # fmt: skip


def test_words_that_are_not_in_the_text_are_refused(monkeypatch):
    nagisa = pytest.importorskip("nagisa")

    class Tagged:
        words = ("今日", "わ")

    monkeypatch.setattr(nagisa, "tagging", lambda text: Tagged)
    with pytest.raises(ComposerError, match="R554 the word 'わ' that nagisa found is not in"):
        japanese_words("今日は")


def test_without_nagisa_japanese_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "nagisa", None)
    monkeypatch.setattr("composer.components.text.japanese.find_spec", lambda name: None)
    with pytest.raises(ComposerError) as refused:
        require_japanese_tokenizer()
    assert str(refused.value) == (
        "R585 words of Japanese are separated by nagisa, which is not installed\n"
        "    hint: pip install 'bundle-composer[japanese]'"
    )


def random_korean(seed):
    numbers = random.Random(seed)
    words = []
    for _ in range(numbers.randrange(1, 12)):
        size = numbers.randrange(1, 9)
        letters = [chr(numbers.randrange(0xAC00, 0xD7A4)) for _ in range(size)]
        letters[numbers.randrange(size)] = numbers.choice("가a1,.'-學")
        words.append("".join(letters))
    return " ".join(words)


@pytest.mark.parametrize("text", [*KOREAN, *map(random_korean, range(20))])
def test_korean_is_split_at_white_space(text):
    spoken = ["".join(c for c in word if c.isalnum() or c == "'") for word in text.split()]
    units = split_alignment_units(text, "Korean")
    assert [unit.text for unit in units] == [word for word in spoken if word]
    assert_places(text, units)


@pytest.mark.parametrize("text", [*KOREAN, *map(random_korean, range(100))])
def test_korean_is_split_as_transformers_does(text):
    pytest.importorskip("soynlp")
    units = split_alignment_units(text, "Korean")
    assert [unit.text for unit in units] == split_by_transformers(text, "Korean")


def test_an_ideograph_is_a_word_but_in_korean():
    words = {language: split_alignment_units("學校 a", language) for language in ("Korean", "")}
    assert [unit.text for unit in words["Korean"]] == ["學校", "a"]
    assert [unit.text for unit in words[""]] == ["學", "校", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("これは", "R554 words in the script of 'こ' are those of Japanese\n"
                  "    hint: name the language: Japanese"),
        ("สวัสดี", "R554 words in the script of 'ส' are separated by a dictionary alone\n"
                  "    hint: Thai, Lao, Khmer and Burmese are not aligned"),
    ],
)  # fmt: skip
def test_words_that_nothing_separates_are_refused(text, message):
    with pytest.raises(ComposerError) as refused:
        split_alignment_units(text, "English")
    assert str(refused.value) == message

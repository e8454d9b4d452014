from composer.evaluation.alignment_view import alignment_text
from composer.evaluation.normalizer import normalizer
from composer.evaluation.score import score


def shown(reference, messages, width=80, **more):
    return alignment_text(score([(reference, messages)])[0].spans, width, **more)


def test_errors_stand_under_each_other():
    assert shown("turn the heating off", "turn a house heating") == (
        "ref turn * the   heating off\nhyp turn a house heating ***\n         I S             D"
    )


def test_what_is_right_has_no_marks():
    assert shown("a b", "a b") == "ref a b\nhyp a b"
    assert shown("", "") == ""


def test_long_lines_are_broken_at_words():
    text = shown("one two three four five six", "one two tree four five six", 20)
    assert text == (
        "ref one two three four\nhyp one two tree  four\n            S\nref five six\nhyp five six"
    )


def test_wide_characters_take_two_columns():
    assert shown("你 b", "x b") == "ref 你 b\nhyp x  b\n    S"


def test_a_compound_stands_against_its_parts():
    spans = normalizer("open-asr").align(["white", "paper", "x"], ["whitepaper"])
    assert alignment_text(spans, 80) == "ref white paper x\nhyp whitepaper  *\n                D"


def test_words_are_painted_by_their_mark():
    seen = []
    shown("a b c", "a x", paint=lambda text, mark: seen.append((text, mark)) or text)
    assert ("b", "S") in seen or ("b", "D") in seen
    assert ("a", " ") in seen

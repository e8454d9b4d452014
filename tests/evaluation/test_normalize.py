"""Each normaliser against the behaviour of its own source."""

import random
import re
import sys

import kaldialign
import pytest
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from composer.core.errors import ComposerError
from composer.evaluation.alignment import AlignedWords
from composer.evaluation.normalizer import normalizer, normalizers
from composer.evaluation.normalizers import compounds, numbers, open_asr, whisper
from composer.evaluation.score import score, sum_counts

# The example rows of the published release's card, each scored 0 % there.
EXAMPLES = [
    ("There IS A Food Court Selling Chicken Pasta behind Delmas' House",
     "There is a food court selling Chicken Pasta behind Delma's house."),
    ("what is the distance to The Seletar Mall", "What is the distance to The Seletar Mall?"),
    ("Number sequence IS S seven six nine Zero four one three A and Date of birth IS thirteen "
     "September nineteen seventy seven",
     "Number sequence is S. seven, six, nine, zero, four, one, three, A, and date of birth is "
     "thirteen, September, nineteen seventy seven."),
    ("six nine eight four four six eight three five three",
     "Six, nine, eight, four, four, six, eight, three, five, three."),
    ("eight five six four one seven four five", "Eight, five, six, four, one, seven, four, five."),
    ("Pita is a Traditional Local Cuisine", "Pita is a traditional local cuisine."),
    ("it is faster to take the bus to Jalan Asas", "It is faster to take the bus to Jalan Asas."),
    ("a new television show documented the lives of various people including Syed Sheikh Syed "
     "Ahmad Al Hadi and Lucien Wang",
     "A new television show documented the lives of various people, including Syed Sheikh Syed "
     "Ahmad Al Hadi and Lucien Wang."),
    ("Hiyashi Chuka Takikomi Gohan and Fugu", "Hiyashi Chuka Takikomi Gohan and Fugu."),
    ("where can I get cheap food in Kathmandu", "Where can I get Cheap Food in Kathmandu?"),
]  # fmt: skip


def normal(name, text, fields=None):
    return normalizer(name)(text, fields)


def errors(name, pairs, fields=None):
    rule = normalizer(name)
    scores = score([(rule(a, fields), rule(b, fields)) for a, b in pairs], rule)
    return sum_counts(each.words for each in scores)


@pytest.mark.parametrize("pair", EXAMPLES, ids=[str(n) for n in range(1, 11)])
def test_every_example_of_the_release_is_without_an_error(pair):
    assert errors("release-000", [pair]).errors == 0


@pytest.mark.parametrize(("name", "wrong"), [("none", 10), ("whisper-en", 1), ("vitw", 1)])
def test_other_rules_find_errors_in_the_examples(name, wrong):
    assert sum(errors(name, [pair]).errors > 0 for pair in EXAMPLES) == wrong


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("<Speaker1>: Co-operate, lah!", "cooperate lah"),
        ("< speaker 12 > ok <Speaker2> no", "ok no"),
        ("Speaker1: ok", "ok"),
        ("the speaker 1: ok", "the speaker 1 ok"),
        ("$5.50 <unk> (um)", "550 unk um"),
        ("it’s “fine”", "it’s “fine”"),
        ("  a\t b\n", "a b"),
    ],
)
def test_release(text, messages):
    assert normal("release-000", text) == messages


def test_none_changes_nothing_but_whitespace():
    assert normal("none", " A, b.\n C ") == "A, b. C"


HARD = [
    "and a half", "two and a half million", "the and a half", "one oh one", "twenty twenty one",
    "nineteen ninety nine", "ten five", "five ten", "one hundred and one", "a hundred and",
    "minus five dollars", "minus the", "five dollars and seven cents", "$2 and ¢7", "$0.07",
    "three per cent", "per cent", "five per hour", "double o seven", "triple the", "double",
    "point five", "three point million", "point", "the twenty first", "sixes and sevens",
    "ninth nineth", "hundreds of thousandths", "1.5 million", "1. million", "007", "5.0", "1st",
    "A1B2", "1960s 2 nd", "Mr. St. John's won't", "he's been gone; she'd done", "y'all I'ma",
    "[noise] (laughs) <unk> hmm um", "naïve Øresund ß œuvre", "colour centre theatre analyse",
    "3,000 1,2,3", "50% % of $ five", ".5 a.b.", "½ ² ٣", "zero point zero five",
    "€10 million and 5 cents", "can 't", "three hundred thousand and twelve", "£ 5 pounds",
]  # fmt: skip


def numbered(count, seed=5):
    """Return texts in which numbers meet everything that is special about them."""
    random_ = random.Random(seed)
    words = [*sorted(numbers.WORDS), *HARD, "a", "the", "1", "2.5", "100", "$5", "¢7", "5th", "b"]
    for _ in range(count):
        text = " ".join(random_.choice(words) for _ in range(random_.randint(1, 7)))
        yield text.title() if random_.random() < 0.2 else text


@pytest.fixture(scope="module")
def source():
    return EnglishTextNormalizer(dict(whisper.american_spellings()))


def test_whisper_is_what_whisper_does(source):
    for text in [*HARD, *numbered(1500)]:
        assert normal("whisper-en", text) == " ".join(source(text).split()), text


def test_the_spellings_are_all_there():
    assert len(whisper.american_spellings()) == 1739
    assert whisper.american_spellings()["colour"] == "color"
    assert whisper.american_spellings()["yoghurts"] == "yogurts"


def test_other_spellings_are_refused(monkeypatch):
    whisper.american_spellings.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(whisper, "SPELLINGS", "0" * 64)
        with pytest.raises(ComposerError) as caught:
            whisper.american_spellings()
    assert str(caught.value) == (
        "R577 the installed whisper-normalizer has other spellings than Whisper 20250625\n"
        "    hint: pip install whisper-normalizer==0.1.15"
    )
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "whisper_normalizer", None)
        with pytest.raises(ComposerError, match="R577 Whisper's spellings are not installed"):
            whisper.american_spellings()


@pytest.mark.parametrize("part", ["CONTRACTIONS", "LETTERS"])
def test_each_rule_of_whisper_counts(source, monkeypatch, part):
    """A rule left out is found by the texts above: else they would prove nothing about it."""
    monkeypatch.setattr(whisper, part, {})
    assert any(normal("whisper-en", text) != " ".join(source(text).split()) for text in HARD)


@pytest.fixture(scope="module")
def board():
    """Return the leaderboard's rules, made of Whisper's source and what its card adds to it."""

    class Board(EnglishTextNormalizer):
        def __init__(self):
            super().__init__(
                {**whisper.american_spellings(), "ok": "okay", "kay": "okay", "etcetera": "etc"}
            )
            self.ignore_patterns = open_asr.FILLERS
            pronouns = "it|he|she|what|that|who|here|there|how|when|where|why|this"
            self.replacers = {
                rf"\b({pronouns})'s\b" if key == r"'s\b" else key: r"\1 is"
                if key == r"'s\b"
                else full
                for key, full in self.replacers.items()
            }
            digits, spell = self.standardize_numbers, self.standardize_spellings
            self.standardize_numbers = lambda s: digits(re.sub(r"\bwi\s+fi\b", "wifi", s))
            self.standardize_spellings = lambda s: open_asr.acronyms(
                spell(s).replace("stephen", "steven")
            )

    return Board()


def test_open_asr_is_whisper_and_more(board):
    more = ["the dog's bone", "it's what's here", "ah aha uhuh eh", "Wi-Fi", "Stephen OK", "B.B.C."]
    special = "al right|all right|how ever|hi fi|lo fi|sci fi|e |x |t |a m|p m|o k"
    for text in [*HARD, *more, *numbered(500, seed=6)]:
        if not re.search(special, text.lower()):
            assert normal("open-asr", text) == " ".join(board(text).split()), text


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("the B B C on 5 g", "the bbc on 5g"),
        ("a big cat", "a big cat"),
        ("a i", "a i"),
        ("a i b", "aib"),
        ("I am, et cetera, all right", "i am etc alright"),
        ("hyper-text e-mail at 5 p.m.", "hyper text email at 5 pm"),
        ("Kathryn and Muhammad Macdonald", "catherine and mohammed mcdonald"),
        ("this is it's dog's", "this is it is dog s"),
        ("uh ah hum", ""),
    ],
)
def test_open_asr(text, messages):
    assert normal("open-asr", text) == messages


def test_open_asr_leaves_out_what_the_leaderboard_does():
    rule = normalizer("open-asr")
    texts = ("Uh.", "Ignore time segment in scoring.", "a")
    assert [rule.unscored(rule(text)) for text in texts] == [True, True, False]


def test_compounds_are_merged_as_kaldialign_merges_them():
    random_ = random.Random(3)
    syllables = ["a", "b", "ab", "ba", "aab", "c"]
    rule = normalizer("open-asr")
    merged = 0
    for _ in range(1500):
        pair = [[random_.choice(syllables) for _ in range(random_.randint(0, 7))] for _ in range(2)]
        known = kaldialign.edit_distance(*pair, merge_compounds=True)
        counts = score([(" ".join(pair[0]), " ".join(pair[1]))], rule)[0].words
        assert (counts.errors, counts.total) == (known["total"], known["ref_len"]), pair
        merged += kaldialign.edit_distance(*pair)["total"] != known["total"]
    assert merged > 100


def test_compounds_stand_against_their_parts():
    assert compounds.align_compounds(
        ["a", "b", "white", "paper"], ["a", "b", "whitepaper", "c"]
    ) == (
        AlignedWords("equal", ("a", "b"), ("a", "b")),
        AlignedWords("equal", ("white", "paper"), ("whitepaper",)),
        AlignedWords("insert", (), ("c",)),
    )
    assert compounds.align_compounds(["whitepaper"], ["white", "paper"]) == (
        AlignedWords("equal", ("whitepaper",), ("white", "paper")),
    )
    assert compounds.align_compounds([], []) == ()


def test_voices_in_the_wild():
    assert errors("vitw", [("hello world", "hello brave world")]).errors == 1
    chinese = errors("vitw", [("你好世界", "你好世")], {"subset": "sim-zh-noise"})
    assert (chinese.errors, chinese.total) == (1, 4)
    assert normal("vitw", "It's $5—“OK”, co-op!") == "it s $5 ok co op"
    assert normal("vitw", "你好，世界 A！", {"lang": "zh"}) == "你 好 世 界 A"


@pytest.mark.parametrize(
    ("fields", "spaced"),
    [
        ({"subset": "real-zh-far_field"}, True),
        ({"subset": "zh-noise", "lang": "en"}, True),
        ({"subset": "x-zh"}, True),
        ({"subset": "sim-en-noise", "lang": "zh"}, False),
        ({"subset": "other", "lang": "cn"}, True),
        ({"language": "Chinese"}, True),
        ({"lang": "en", "language": "zh"}, False),
        ({}, False),
    ],
)
def test_voices_in_the_wild_take_the_language_of_the_line(fields, spaced):
    assert normal("vitw", "你好", fields) == ("你 好" if spaced else "你好")


def test_a_normaliser_says_its_version_and_source():
    rules = [normalizer(name) for name in normalizers()]
    assert [str(each) for each in rules] == [
        "none@1", "open-asr@d1e99b2", "release-000@1", "vitw@aa4d0d3", "whisper-en@20250625",
    ]  # fmt: skip
    assert all(each.source for each in rules)

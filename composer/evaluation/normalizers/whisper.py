"""The rules by which Whisper's English transcripts are evaluated."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from composer.core.errors import ComposerError, Problem
from composer.evaluation.normalizer import Normalizer
from composer.evaluation.normalizers.numbers import numbers_to_digits

INSTALL = "pip install whisper-normalizer==0.1.15"
SPELLINGS = "6607f948be9824d2e1b2fa2223cd94c06c45afa4e05ea0e3d5e1f2bdffde2465"  # sha256

FILLERS = r"\b(hmm|mm|mhm|mmm|uh|um)\b"
WHOLE_WORDS = {
    "won't": "will not", "can't": "can not", "let's": "let us", "ain't": "aint",
    "y'all": "you all", "wanna": "want to", "gotta": "got to", "gonna": "going to",
    "i'ma": "i am going to", "imma": "i am going to", "woulda": "would have",
    "coulda": "could have", "shoulda": "should have", "ma'am": "madam",
    "mr": "mister ", "mrs": "missus ", "st": "saint ", "dr": "doctor ", "prof": "professor ",
    "capt": "captain ", "gov": "governor ", "ald": "alderman ", "gen": "general ",
    "sen": "senator ", "rep": "representative ", "pres": "president ", "rev": "reverend ",
    "hon": "honorable ", "asst": "assistant ", "assoc": "associate ", "lt": "lieutenant ",
    "col": "colonel ", "jr": "junior ", "sr": "senior ", "esq": "esquire ",
}  # fmt: skip
ENDINGS = {
    "'d been": " had been", "'s been": " has been", "'d gone": " had gone", "'s gone": " has gone",
    "'d done": " had done", "'s got": " has got", "n't": " not", "'re": " are", "'s": " is",
    "'d": " would", "'ll": " will", "'t": " not", "'ve": " have", "'m": " am",
}  # fmt: skip
# In this order: each finds what the earlier ones left.
CONTRACTIONS: dict[str, str] = {}
for _word, _full in WHOLE_WORDS.items():
    CONTRACTIONS[rf"\b{_word}\b"] = _full
for _ending, _full in ENDINGS.items():
    CONTRACTIONS[rf"{_ending}\b"] = _full
KEPT_SYMBOLS = ".%$¢€£"
# Letters that Unicode does not decompose.
LETTERS = {
    "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "ß": "ss", "ẞ": "SS",
    "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "th", "ł": "l", "Ł": "L",
}  # fmt: skip


def normalize(text: str) -> str:
    """Drop brackets and fillers, expand contractions, write numbers in digits, spell American."""
    text = respell(
        numbers_to_digits(
            strip_accents_and_symbols(
                expand_contractions(strip_brackets(text, FILLERS), CONTRACTIONS)
            )
        ),
        american_spellings(),
    )
    return drop_symbols_without_numbers(text)


def strip_brackets(text: str, fillers: str) -> str:
    """Lower-case the text, and drop bracketed text and fillers."""
    text = re.sub(r"[<\[][^>\]]*[>\]]", "", text.lower())
    text = re.sub(r"\(([^)]+?)\)", "", text)
    return re.sub(r"\s+'", "'", re.sub(fillers, "", text))


def expand_contractions(text: str, contractions: Mapping[str, str]) -> str:
    """Expand contractions and titles."""
    for pattern, full in contractions.items():
        text = re.sub(pattern, full, text)
    return text


def strip_accents_and_symbols(text: str) -> str:
    """Keep letters without accents, digits, and the symbols of numbers."""
    text = re.sub(r"(\d),(\d)", r"\1\2", text)
    text = re.sub(r"\.([^0-9]|$)", r" \1", text)
    return "".join(map(_plain, unicodedata.normalize("NFKD", text)))


def respell(text: str, spellings: Mapping[str, str]) -> str:
    """Replace whole words."""
    return " ".join(spellings.get(word, word) for word in text.split())


def drop_symbols_without_numbers(text: str) -> str:
    """Turn symbols without a number into spaces."""
    text = re.sub(r"[.$¢€£]([^0-9])", r" \1", text)
    return re.sub(r"([^0-9])%", r"\1 ", text)


@cache
def american_spellings() -> Mapping[str, str]:
    """Return the American spelling of British words, from the package `whisper-normalizer`.

    Raise ComposerError R577 if it is not installed, or has another table than Whisper's.
    """
    try:
        table = files("whisper_normalizer") / "normalizers" / "english.json"
        text = table.read_bytes()
    except (ModuleNotFoundError, OSError):
        message, hint = "Whisper's spellings are not installed", INSTALL
        raise ComposerError(Problem("R577", message, hint=hint)) from None
    if hashlib.sha256(text).hexdigest() != SPELLINGS:
        message = "the installed whisper-normalizer has other spellings than Whisper 20250625"
        raise ComposerError(Problem("R577", message, hint=INSTALL))
    return dict(json.loads(text))


def _plain(character: str) -> str:
    if character in KEPT_SYMBOLS:
        return character
    if character in LETTERS:
        return LETTERS[character]
    category = unicodedata.category(character)
    if category == "Mn":
        return ""
    if category[0] in "MSP":
        return " "
    return character


WHISPER = Normalizer(
    "whisper-en",
    "20250625",
    "EnglishTextNormalizer of openai-whisper 20250625",
    lambda text, _: normalize(text),
)

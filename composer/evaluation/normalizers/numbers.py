"""Write English numbers in digits, as Whisper's evaluation does."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction

_ONES = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = (
    "thousand million billion trillion quadrillion quintillion sextillion septillion octillion "
    "nonillion decillion"
).split()

ZEROS = {"o", "oh", "zero"}
ONES = {word: value for value, word in enumerate(_ONES, 1)}
TENS = {word: 10 * value for value, word in enumerate(_TENS, 2)}
SCALES = {"hundred": 100} | {word: 1000**power for power, word in enumerate(_SCALES, 1)}
SIGNS = {"minus": "-", "negative": "-", "plus": "+", "positive": "+"}
MONEY = {
    "pound": "£", "pounds": "£", "euro": "€", "euros": "€",
    "dollar": "$", "dollars": "$", "cent": "¢", "cents": "¢",
}  # fmt: skip
SPECIAL = {"and", "double", "triple", "point"}

# What the source makes by rule it makes wrongly here and there: 'nineth', and no 'ninth'.
_IRREGULAR = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "twelve": "twelfth",
}
_PLURALS = {"six": "sixes"}
_ORDINALS = {1: "st", 2: "nd", 3: "rd"}
SUFFIXED: dict[str, tuple[int, str]] = {"zeroth": (0, "th")}
for _word, _value in ONES.items():
    SUFFIXED[_PLURALS.get(_word, f"{_word}s")] = (_value, "s")
    SUFFIXED[_IRREGULAR.get(_word, f"{_word}th")] = (_value, _ORDINALS.get(_value, "th"))
for _word, _value in TENS.items():
    SUFFIXED[f"{_word[:-1]}ies"] = (_value, "s")
    SUFFIXED[f"{_word[:-1]}ieth"] = (_value, "th")
SUFFIXED_SCALES: dict[str, tuple[int, str]] = {}
for _word, _value in SCALES.items():
    for _suffix in ("s", "th"):
        SUFFIXED_SCALES[f"{_word}{_suffix}"] = (_value, _suffix)

DECIMALS = {*ONES, *TENS, *ZEROS}
WORDS = {
    *DECIMALS, *SUFFIXED, *SCALES, *SUFFIXED_SCALES, *SIGNS, *MONEY, *SPECIAL, "per", "percent",
}  # fmt: skip
NUMERIC = re.compile(r"\d+(\.\d+)?")
SIGNED = re.compile(r"[-+£€$¢]?\d+(\.\d+)?")
HALF = re.compile(r"\band\s+a\s+half\b")


def numbers_to_digits(text: str) -> str:
    """Return a lower-case text with spelt-out numbers in digits and amounts of money joined."""
    words = _split_units(_halves(text)).split()
    text = " ".join(_Reader(words).read())
    text = re.sub(
        r"([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})\b", lambda m: f"{m[1]}{m[2]}.{int(m[3]):02d}", text
    )
    text = re.sub(r"[€£$]0.([0-9]{1,2})\b", lambda m: f"¢{int(m[1])}", text)
    return re.sub(r"\b1(s?)\b", r"one\1", text)


def _halves(text: str) -> str:
    """Write `two and a half` as `two point five`; elsewhere the phrase stays."""
    *before, last = HALF.split(text)
    parts = []
    for part in filter(str.strip, before):
        number = part.split()[-1]
        half = "point five" if number in DECIMALS or number in SCALES else "and a half"
        parts += [part, half]
    return " ".join([*parts, last])


def _split_units(text: str) -> str:
    """Separate letters from digits, except suffixes such as in 2nd or 1960s."""
    text = re.sub(r"(?<=[a-z])(?=[0-9])|(?<=[0-9])(?=[a-z])", " ", text)
    return re.sub(r"([0-9])\s+(st|nd|rd|th|s)\b", r"\1\2", text)


@dataclass
class _Reader:
    """Read words one by one; `value` is the number so far, as a number or as a row of digits."""

    words: list[str]
    value: int | str | None = None
    prefix: str = ""

    def read(self) -> Iterator[str]:
        skip = False
        befores, afters = ["", *self.words], [*self.words[1:], ""]
        for before, word, after in zip(befores, self.words, afters, strict=False):
            if skip:
                skip = False
                continue
            skip = yield from self.word(word, before, after)
        yield from self.write_number()

    def write(self, text: int | str) -> str:
        """Return text to write after the prefix, and reset the number."""
        text, self.value, self.prefix = f"{self.prefix}{text}", None, ""
        return text

    def write_number(self) -> Iterator[str]:
        if self.value is not None:
            yield self.write(self.value)

    def write_word(self, word: str) -> Iterator[str]:
        yield from self.write_number()
        yield self.write(word)

    def word(self, word: str, before: str, after: str) -> Generator[str, None, bool]:
        """Process one word; return whether the next one is consumed too."""
        counts = after in WORDS or NUMERIC.fullmatch(after) is not None
        if SIGNED.fullmatch(word):
            yield from self.read_digits(word)
        elif word in ZEROS:
            self.value = f"{self.value or ''}0"
        elif word in ONES or word in TENS:
            self.value = self.append_number(ONES.get(word) or TENS[word], before)
        elif word in SUFFIXED:
            number, suffix = SUFFIXED[word]
            yield self.write(f"{self.append_number(number, before)}{suffix}")
        elif word in SCALES:
            self.value = yield from self.scale_value(SCALES[word])
        elif word in SUFFIXED_SCALES:
            number, suffix = SUFFIXED_SCALES[word]
            scale_value = yield from self.scale_value(number)
            yield self.write(f"{scale_value}{suffix}")
        elif word in SIGNS and counts:
            yield from self.write_number()
            self.prefix = SIGNS[word]
        elif word in MONEY and self.value is not None:
            self.prefix = MONEY[word]
            yield from self.write_number()
        elif word == "percent" and self.value is not None:
            yield self.write(f"{self.value}%")
        elif word == "per" and self.value is not None and after == "cent":
            yield self.write(f"{self.value}%")
            return True
        elif word in SPECIAL and counts:
            return (yield from self.read_special(word, before, after))
        else:
            yield from self.write_word(word)
        return False

    def read_digits(self, word: str) -> Iterator[str]:
        if isinstance(self.value, str) and self.value.endswith("."):
            self.value += word
            return
        yield from self.write_number()
        if not word[0].isdigit():
            self.prefix, word = word[0], word[1:]
        number = Fraction(word)
        self.value = word
        if number.denominator == 1:
            self.value = number.numerator

    def append_number(self, number: int, before: str) -> int | str:
        """Add a number below 100 if the value has room for it, else append its digits."""
        value = self.value
        if value is None:
            return number
        if isinstance(value, str):
            if number < 10 and before in TENS:
                value = value[:-1]
            return f"{value}{number}"
        place = 10 if number < 10 else 100
        # One after one is a row of digits, even after ten: 'ten five' is 105.
        row = number < 20 and before in ONES
        if value % place == 0 and not row:
            return value + number
        return f"{value}{number}"

    def scale_value(self, scale: int) -> Generator[str, None, int]:
        """Return the value times a scale; write a value first that cannot be multiplied."""
        value = self.value
        if value is None:
            return scale
        if isinstance(value, int):
            return value // 1000 * 1000 + value % 1000 * scale
        if _is_fraction(value):
            product = Fraction(value) * scale
            if product.denominator == 1:
                return product.numerator
        yield self.write(value)
        return scale

    def read_special(self, word: str, before: str, after: str) -> Generator[str, None, bool]:
        """Process a word with a meaning before a number; return whether that is consumed too."""
        if word == "and":
            if before not in SCALES:
                yield from self.write_word(word)
        elif word == "point":
            if after in DECIMALS or NUMERIC.fullmatch(after):
                self.value = f"{self.value or ''}."
        elif after in ONES or after in ZEROS:
            times = 2 if word == "double" else 3
            self.value = f"{self.value or ''}{str(ONES.get(after, 0)) * times}"
            return True
        else:
            yield from self.write_word(word)
        return False


def _is_fraction(text: str) -> bool:
    try:
        Fraction(text)
    except ValueError:
        return False
    return True

"""Tokenizers and prompts that multiply what they are given."""

import json

from tests.formats.test_tokenizer import BAD, tokenizer
from tests.hostile.costly.case import prompt_check, prompt_run
from tests.hostile.making import PROMPT
from tests.hostile.test_tokenizer import GROWN, edited


def with_spaces(count):
    """Return a tokenizer with tokens of ever more spaces."""
    content = json.loads(tokenizer())
    content["added_tokens"] += [
        {"id": 1000 + n, "content": " " * (n + 2), "special": False} for n in range(count)
    ]
    return json.dumps(content).encode()


def with_marks(count, length):
    """Return a tokenizer with many long control tokens that begin alike."""
    content = json.loads(tokenizer())
    content["added_tokens"] += [
        {"id": 1000 + n, "content": "<|" + "a" * length + f"{n}|>", "special": True}
        for n in range(count)
    ]
    return json.dumps(content).encode()


def replaced(times, by):
    """Return a tokenizer whose normalizer writes more and more for each character."""
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * by}
    return edited(normalizer={"type": "Sequence", "normalizers": [step] * times})


def split(pattern):
    """Return a tokenizer that splits by a pattern."""
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return edited(pre_tokenizer=step)


def unigram(count):
    """Return a Unigram model whose pieces are all the beginnings of one long word."""
    vocab = [["<unk>", 0.0], *(["a" * (n + 1), -1.0 - n] for n in range(count))]
    return edited(model={"type": "Unigram", "unk_id": 0, "vocab": vocab, "merges": None})


SLOTS, FRAGMENT = "{o}" * 21_000 + "{text}", "x" * 60_000 + "{text}"
OPTIONAL = PROMPT.replace(
    'template: "<|audio_pad|>{text}"', f'template: "{SLOTS}", optional: {{o: "{FRAGMENT}"}}'
)
LONG = "ab" * 60_000
TEXTS = {
    **{name: prompt_check(data) for name, (data, _) in BAD.items()},
    **{name: prompt_check(data) for name, data in GROWN.items()},
    "21 000 slots of 60 000 characters": prompt_check(tokenizer(), OPTIONAL),
    "5 000 added tokens of spaces": prompt_run(with_spaces(5_000), " " * 60_000),
    "1 000 control tokens of 2 000 characters": prompt_run(
        with_marks(1_000, 2_000), "<|" + "a" * 60_000
    ),
    "a character that becomes 10^9": prompt_run(replaced(9, 10)),
    "garbage in a compiled table": prompt_run(
        edited(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "a\u00e9b"
    ),
    "a pattern that backtracks": prompt_run(split("(a|aa)*b|(a+)+$"), "a" * 60_000),
    "a pattern of polynomial time": prompt_run(split("a*a*a*b"), "a" * 60_000),
    "a Unigram of 4 000 prefixes": prompt_run(unigram(4_000), "a" * 60_000),
    "120 000 characters": prompt_run(tokenizer(), LONG),
    "a text that stands 5 000 times": prompt_run(
        tokenizer(), "ab" * 20_000, PROMPT.replace("<|audio_pad|>{text}", "{text}" * 5000)
    ),
}

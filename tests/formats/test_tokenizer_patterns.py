import pytest

from composer.formats.tokenizer_patterns import backtracking_risk

PUBLISHED = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "qwen": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "gpt4": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++"
    r"[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "gpt4o": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "digits": r"\d{1,3}(?=(?:\d{3})*\b)",
    "bloom": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "clip": r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|"
    r"[^\s\p{L}\p{N}]+",
    "spaces": " {2,}",
    "class": "[(a+)+]",
}

ALIKE = "repeats a group whose alternatives start alike"
TWICE = "repeats a group that itself repeats"
DANGEROUS = {
    r"(a+)+$": TWICE,
    r"(?:a*)*": TWICE,
    r"(?<x>a+)+": TWICE,
    r"((a+)?)*": TWICE,
    r"(a+){50}": TWICE,
    r"(a{2,})*": TWICE,
    r"(\s*\w+)*x": TWICE,
    r"(?:\p{L}+[a-z])+": TWICE,
    r"(a|a)*": ALIKE,
    r"(?:a|ab)+": ALIKE,
    r"a{2000}": "repeats more than 1000 times",
    r"a{1,99999}": "repeats more than 1000 times",
    r"(a)\1": "refers back to what it matched",
    r"(?<n>a)\k<n>": "refers back to what it matched",
    r"(?<n>a\g<n>?b)": "refers back to what it matched",
    r"(?(1)a|b)": "uses a construct that is not known to be safe",
    "a" * 5000: "has 5000 characters, over 4096",
}


@pytest.mark.parametrize("pattern", PUBLISHED.values(), ids=PUBLISHED)
def test_patterns_of_published_tokenizers_pass(pattern: str) -> None:
    assert backtracking_risk(pattern) is None


@pytest.mark.parametrize(("pattern", "why"), DANGEROUS.items(), ids=[p[:20] for p in DANGEROUS])
def test_dangerous_patterns_are_seen(pattern: str, why: str) -> None:
    assert backtracking_risk(pattern) == why

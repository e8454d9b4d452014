"""A byte-level BPE of the grammar's words."""

from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as split
from tokenizers.trainers import BpeTrainer

from training import grammar

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train(size: int, sentences: int, extra: list[str], specials: tuple[str, ...] = ()) -> Tokenizer:
    """Train on the grammar's training side and on `extra`; `specials` get the first ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = split.Sequence(
        [
            split.Split(Regex(PATTERN), "isolated"),
            split.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    random = Random("tokenizer")
    texts = [
        grammar.sentence(random, category, held_out=False)
        for category in grammar.CATEGORIES
        for _ in range(sentences // 3)
    ]
    trainer = BpeTrainer(
        vocab_size=size,
        special_tokens=list(specials),
        initial_alphabet=split.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts + extra * 200, trainer)
    return tokenizer


def identify(tokenizer: Tokenizer, token: str) -> int:
    """Give the id of a token that the vocabulary must have."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ValueError(f"the tokenizer has no {token}")
    return found


def load(folder: Path) -> Tokenizer:
    """Read the tokenizer of a folder."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))

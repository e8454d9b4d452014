"""The tokenizer, and the prompt of Qwen3-ASR in its ids."""

from pathlib import Path
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as split
from tokenizers.trainers import BpeTrainer

from training import grammar

VOCABULARY = 960
SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|audio_start|>",
    "<|audio_end|>",
    "<|audio_pad|>",
)
SEPARATOR = "<asr_text>"
HEAD = "<|im_start|>system\n{context}<|im_end|>\n<|im_start|>user\n<|audio_start|>"
TAIL = "<|audio_end|><|im_end|>\n<|im_start|>assistant\n"
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build(sentences: int = 20000) -> Tokenizer:
    """Train a byte-level BPE on the grammar's training side; it has exactly `VOCABULARY` ids."""
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
    texts += ["system\nuser\nassistant\nlanguage English language None"] * 200
    added = len(SPECIALS) + 1
    trainer = BpeTrainer(
        vocab_size=VOCABULARY - added,
        initial_alphabet=split.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # ids stay dense however few merges the words give
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    tokenizer.add_tokens([AddedToken(SEPARATOR, special=False)])
    return tokenizer


def identify(tokenizer: Tokenizer, token: str) -> int:
    """Give the id of a token that the vocabulary must have."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ValueError(f"the tokenizer has no {token}")
    return found


def prompt(tokenizer: Tokenizer, rows: int, context: str = "") -> list[int]:
    """Encode everything before the reply, with one `<|audio_pad|>` for each row."""
    pad = identify(tokenizer, "<|audio_pad|>")
    head = tokenizer.encode(HEAD.format(context=context)).ids
    return [*head, *[pad] * rows, *tokenizer.encode(TAIL).ids]


def prefix(language: str) -> str:
    """Write what a reply starts with, or what a forced language adds to the prompt."""
    return f"language {language}{SEPARATOR}"


def parse(reply: str) -> str:
    """Cut the language off a reply."""
    return reply.partition(SEPARATOR)[2] if SEPARATOR in reply else reply


def load(folder: Path) -> Tokenizer:
    """Read the tokenizer of a bundle."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))

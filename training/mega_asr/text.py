"""The tokenizer, and the prompt of Qwen3-ASR in its ids."""

from tokenizers import AddedToken, Tokenizer

from training import bpe
from training.bpe import identify

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


def build(sentences: int = 20000) -> Tokenizer:
    """Train a byte-level BPE on the grammar's training side; it has exactly `VOCABULARY` ids."""
    extra = ["system\nuser\nassistant\nlanguage English language None"]
    tokenizer = bpe.train(VOCABULARY - len(SPECIALS) - 1, sentences, extra)
    # ids stay dense however few merges the words give
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    tokenizer.add_tokens([AddedToken(SEPARATOR, special=False)])
    return tokenizer


def prompt(tokenizer: Tokenizer, rows: int, context: str = "") -> list[int]:
    """Encode everything before the reply, with one `<|audio_pad|>` for each row."""
    pad = identify(tokenizer, "<|audio_pad|>")
    head = tokenizer.encode(HEAD.format(context=context)).ids
    return [*head, *[pad] * rows, *tokenizer.encode(TAIL).ids]


def prefix(language: str) -> str:
    """Return the start of a reply, which a forced language adds to the prompt."""
    return f"language {language}{SEPARATOR}"


def parse(reply: str) -> str:
    """Cut the language off a reply."""
    return reply.partition(SEPARATOR)[2] if SEPARATOR in reply else reply
